//! Stop and start again: the same graph, walked back and forth.

use super::{Apply, Error, dag};
use crate::engine;
use crate::plan::diff::{Observed, State};
use crate::plan::order;

impl Apply<'_> {
    /// Stops the named services and what depends on them, dependants first.
    pub(crate) async fn stop(&self, wanted: &[String]) -> Result<usize, Vec<Error>> {
        let one = |error| vec![error];
        let names = order::with_dependants(&self.platform.services, &self.selected(wanted).map_err(one)?);
        let observed =
            self.docker.observe(self.platform.project()).await.map_err(|error| one(error.into()))?;
        let edges = dag::reversed(&dag::edges(&names, |name| self.needs(name)));
        let outcomes = dag::run(
            &edges,
            |name| {
                let observed = &observed;
                async move { self.stop_one(&name, observed).await }
            },
            |_| (),
        );
        collect(outcomes.await)
    }

    async fn stop_one(&self, name: &str, observed: &Observed) -> Result<usize, Error> {
        let container = self.platform.container(name);
        let stopped = |state| matches!(state, State::Succeeded | State::Failed | State::Created);
        if observed.containers.get(&container).is_none_or(|known| stopped(known.state)) {
            return Ok(0);
        }
        let task = self.settings.printer.task(name);
        task.now("stopping");
        let result = self.docker.stop(&container, self.platform.services[name].stop_timeout).await;
        if result.is_ok() {
            task.done("stopped")
        } else {
            task.clear()
        }
        result?;
        Ok(1)
    }

    /// Starts stopped services with what they depend on, and waits until they are ready. Creates nothing.
    pub(crate) async fn start(&self, wanted: &[String]) -> Result<usize, Vec<Error>> {
        let one = |error| vec![error];
        let names = order::with_dependencies(&self.platform.services, &self.selected(wanted).map_err(one)?);
        let observed =
            self.docker.observe(self.platform.project()).await.map_err(|error| one(error.into()))?;
        let there = |name: &String| observed.containers.contains_key(&self.platform.container(name));
        let missing: Vec<String> = names.iter().filter(|name| !there(name)).cloned().collect();
        if !missing.is_empty() {
            let text = format!("{} never ran here; `octopenstack run` creates it", missing.join(", "));
            return Err(one(Error::Nothing(text)));
        }
        self.check_host(&names, &observed).map_err(one)?;
        let edges = dag::edges(&names, |name| self.needs(name));
        let outcomes = dag::run(
            &edges,
            |name| {
                let observed = &observed;
                async move { self.start_one(&name, observed).await }
            },
            |_| (),
        );
        collect(outcomes.await)
    }

    async fn start_one(&self, name: &str, observed: &Observed) -> Result<usize, Error> {
        let container = self.platform.container(name);
        let runs = |container: &str| {
            observed.containers.get(container).is_some_and(|known| known.state == State::Running)
        };
        // What still runs in the network of a container that ended is cut off: it joins the new one.
        let cut_off = !runs(&self.platform.container(self.platform.home(name)));
        let running = runs(&container) && !cut_off;
        let task = self.settings.printer.task(name);
        if !running {
            task.now("starting");
            if let Err(error) = self.begin(name, &container, runs(&container)).await {
                task.clear();
                return Err(error.into());
            }
        }
        task.now("waiting until it is ready");
        let ready = self.gate(name, None).await;
        if ready.is_ok() && !running {
            task.done("started and ready")
        } else {
            task.clear()
        }
        ready.map(|()| usize::from(!running))
    }

    async fn begin(&self, name: &str, container: &str, still_runs: bool) -> Result<(), engine::Error> {
        if still_runs {
            self.docker.stop(container, self.platform.services[name].stop_timeout).await?;
        }
        self.docker.start(container).await
    }

    fn needs(&self, name: &str) -> Vec<String> {
        self.platform.services[name].waits_for().map(str::to_owned).collect()
    }
}

fn collect<E>(outcomes: Vec<dag::Outcome<usize, E>>) -> Result<usize, Vec<E>> {
    let mut count = 0;
    let mut errors = Vec::new();
    for outcome in outcomes {
        match outcome {
            dag::Outcome::Done(done) => count += done,
            dag::Outcome::Failed(error) => errors.push(error),
            dag::Outcome::Skipped { .. } => {}
        }
    }
    if errors.is_empty() { Ok(count) } else { Err(errors) }
}
