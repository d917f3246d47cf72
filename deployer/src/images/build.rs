//! One image through the classic builder, which needs no session and no plug-in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bollard::query_parameters::BuildImageOptionsBuilder;
use common::config::Image;
use futures_util::StreamExt;

use super::{Builder, Error, inspect};
use crate::engine::docker::explain;
use crate::engine::{BUILD, KIND};
use crate::printer::Task;

/// Lines of a failing step that are shown.
const SHOWN: usize = 20;
/// A build step may be silent for this long (a large download).
const SILENCE: Duration = Duration::from_secs(1800);

impl Builder<'_> {
    /// Builds one image unless it is there already. Returns its id and whether it was built.
    pub(super) async fn one(
        &self,
        name: &str,
        image: &Image,
        from: &str,
        parent_id: &str,
    ) -> Result<(String, bool), Error> {
        let tag = self.config.configuration.image(name);
        let context = self.context(name, image, from)?;
        let hash = context.hash(parent_id);
        let found = inspect(self.docker, &tag).await?;
        if let Some(found) = found.filter(|found| !self.no_cache && found.build.as_deref() == Some(&hash)) {
            return Ok((found.id, false));
        }
        let archive = context.tar().map_err(|source| Error::Context {
            image: name.to_owned(),
            path: "the build context".into(),
            hint: "",
            source,
        })?;
        let task = self.printer.task(&format!("image {name}"));
        let outcome = self.run(name, &tag, &hash, archive, &task).await;
        if outcome.is_err() {
            task.clear();
        }
        outcome?;
        task.done("built");
        let built = inspect(self.docker, &tag).await?;
        let missing = || Error::Step {
            image: name.to_owned(),
            step: "the end".into(),
            output: Vec::new(),
            message: "Docker reported success, but there is no such image".into(),
        };
        Ok((built.ok_or_else(missing)?.id, true))
    }

    async fn run(
        &self,
        name: &str,
        tag: &str,
        hash: &str,
        archive: Vec<u8>,
        task: &Task,
    ) -> Result<(), Error> {
        let labels = HashMap::from([(BUILD, hash), (KIND, "image")]);
        let options = BuildImageOptionsBuilder::default()
            .t(tag)
            .rm(true)
            .forcerm(true)
            .nocache(self.no_cache)
            .labels(&labels)
            .build();
        let doing = format!("build image {name}");
        let docker = self.docker.patient(SILENCE);
        let mut stream = docker.build_image(options, None, Some(bollard::body_full(archive.into())));
        let mut progress = Progress::default();
        while let Some(message) = stream.next().await {
            let failure = match message {
                Ok(info) => {
                    if let Some(text) = &info.stream {
                        progress.read(text);
                        task.now(&progress.step);
                    }
                    info.error_detail.map(|detail| detail.message.unwrap_or_default())
                }
                Err(bollard::errors::Error::DockerStreamError { error }) => Some(error),
                Err(error) => return Err(explain(&doing, error).into()),
            };
            if let Some(message) = failure {
                return Err(progress.failed(name, &message));
            }
        }
        Ok(())
    }
}

/// What the builder said so far.
#[derive(Default)]
struct Progress {
    step: String,
    lines: VecDeque<String>,
}

impl Progress {
    fn read(&mut self, text: &str) {
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.starts_with("Step ") {
                self.step = line.to_owned();
                self.lines.clear();
            } else if !line.starts_with(" --->") {
                self.lines.push_back(line.to_owned());
                if self.lines.len() > SHOWN {
                    self.lines.pop_front();
                }
            }
        }
    }

    fn failed(self, image: &str, message: &str) -> Error {
        let full = "no space left on device";
        let no_space = message.to_lowercase().contains(full)
            || self.lines.iter().any(|line| line.to_lowercase().contains(full));
        if no_space {
            return crate::engine::Error::NoSpace { doing: format!("build image {image}") }.into();
        }
        Error::Step {
            image: image.to_owned(),
            step: self.step,
            output: self.lines.into(),
            message: message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_is_shown_with_its_last_lines() {
        let mut progress = Progress::default();
        progress.read("Step 1/2 : FROM x\n ---> 123\n");
        progress.read("Step 2/2 : RUN make\n ---> Running in 456\n");
        for number in 0..30 {
            progress.read(&format!("line {number}\n"));
        }
        let text = progress.failed("openstack", "returned a non-zero code: 2").to_string();
        assert!(text.contains("failed at\n    Step 2/2 : RUN make"), "{text}");
        assert!(text.contains("line 29") && text.contains("line 10") && !text.contains("line 9\n"), "{text}");
    }

    #[test]
    fn a_full_disk_is_recognised() {
        let mut progress = Progress::default();
        progress.read("Step 2/2 : RUN make\ncp: write error: No space left on device\n");
        let text = progress.failed("openstack", "returned a non-zero code: 1").to_string();
        assert!(text.contains("no space left") && text.contains("run the same command again"), "{text}");
    }
}
