//! One service: databases, jobs, container, readiness.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Apply, Error, LastLines, Mode};
use crate::bootstrap::mysql;
use crate::engine::files;
use crate::plan::diff::{Container, DesiredService, Observed, State, Step, service_steps};
use crate::plan::platform::{self, Platform};
use crate::plan::spec::Desired;
use crate::printer::Task;

/// Lines of a log shown under an error.
const LINES: usize = 20;

impl Apply<'_> {
    /// Brings one service up whose dependencies are ready. Returns the number of things done.
    pub(super) async fn service(
        &self,
        name: &str,
        desired: &BTreeMap<String, DesiredService>,
        observed: &Observed,
        identity: watch::Receiver<Option<bool>>,
        mode: Mode,
    ) -> Result<usize, Error> {
        let task = self.settings.printer.task(name);
        let result = self.bring_up(name, desired, observed, identity, mode, &task).await;
        match &result {
            Ok((0, _)) | Err(_) => task.clear(),
            Ok((_, what)) => task.done(what),
        }
        result.map(|(count, _)| count)
    }

    async fn bring_up(
        &self,
        name: &str,
        all: &BTreeMap<String, DesiredService>,
        observed: &Observed,
        identity: watch::Receiver<Option<bool>>,
        mode: Mode,
        task: &Task,
    ) -> Result<(usize, String), Error> {
        let desired = &all[name];
        // The database service's own databases come when it is up; all others are there before their service's jobs.
        let own = self.platform.database.as_deref() == Some(name);
        let mut done = if own { 0 } else { self.databases(name, task).await? };
        let steps = service_steps(name, all, observed);
        let replaced = steps.iter().any(|step| matches!(step, Step::Replace { .. }));
        if replaced {
            task.now("stopping the old container");
            self.docker.stop(&desired.container.spec.name, desired.container.spec.stop_timeout).await?;
            self.docker.remove_container(&desired.container.spec.name).await?;
        }
        for (job, wanted) in &desired.jobs {
            let planned =
                steps.iter().any(|step| matches!(step, Step::RunJob { job: planned, .. } if planned == job));
            if planned || mode.again {
                task.now(&format!("job {job}"));
                self.job(wanted, observed.containers.get(&wanted.spec.name)).await?;
                done += 1;
            }
        }
        self.wait_for_identity(name, identity, task).await?;
        let what = self.container(&desired.container, &steps).await?;
        done += usize::from(what.is_some());
        task.now("waiting until it is ready");
        let known = observed.containers.get(&desired.container.spec.name).filter(|_| what.is_none());
        self.gate(name, known.map(|container| container.address)).await?;
        if own {
            done += self.databases(name, task).await?;
        }
        Ok((done, what.unwrap_or("jobs done").to_owned()))
    }

    async fn container(&self, desired: &Desired, steps: &[Step]) -> Result<Option<&'static str>, Error> {
        for step in steps {
            let done = match step {
                Step::Create { .. } => "ready",
                Step::Replace { .. } => "replaced and ready",
                Step::Start { .. } => "started and ready",
                _ => continue,
            };
            files::prepare(desired)?;
            if !matches!(step, Step::Start { .. }) {
                self.docker.create(self.platform.project(), desired).await?;
            }
            self.docker.start(&desired.spec.name).await?;
            return Ok(Some(done));
        }
        Ok(None)
    }

    /// Databases and accounts of a service.
    async fn databases(&self, name: &str, task: &Task) -> Result<usize, Error> {
        let service = &self.platform.services[name];
        let user = Platform::database_user(name, service);
        let password = self.secrets.get(&platform::database_secret(&user));
        let server = self.platform.database.as_deref().and_then(|database| self.address_of(database));
        let root = self.secrets.get(platform::DATABASE_SECRET);
        let (Some(password), Some(address), Some(root), false) =
            (password, server, root, service.needs.databases.is_empty())
        else {
            return Ok(0);
        };
        task.now("databases");
        let databases = service.needs.databases.iter().map(|database| database.value.clone()).collect();
        let account = mysql::Account { user, password: password.clone(), databases };
        let server = mysql::Server { address, password: root.clone() };
        let done = mysql::ensure(&server, &account).await;
        Ok(done.map_err(|source| Error::Database { service: name.to_owned(), source })?.len())
    }

    /// A service with a Keystone user starts when the user is there; its databases and jobs need not wait for that.
    async fn wait_for_identity(
        &self,
        name: &str,
        mut identity: watch::Receiver<Option<bool>>,
        task: &Task,
    ) -> Result<(), Error> {
        if self.platform.services[name].needs.keystone_user.is_none() {
            return Ok(());
        }
        task.now("waiting for its user in Keystone");
        let there = identity.wait_for(Option::is_some).await.is_ok_and(|state| *state == Some(true));
        if there { Ok(()) } else { Err(Error::NoUser { service: name.to_owned() }) }
    }

    /// Runs a job to its end. Its container stays: it is the record that the job was done.
    async fn job(&self, desired: &Desired, known: Option<&Container>) -> Result<(), Error> {
        let name = &desired.spec.name;
        let start = Instant::now();
        // A job that an interrupted deployer left running is waited for: half of a schema migration cannot be repeated.
        let runs = known.is_some_and(|known| known.state == State::Running && known.spec == desired.hash);
        if !runs {
            files::prepare(desired)?;
            self.docker.create(self.platform.project(), desired).await?;
            self.docker.start(name).await?;
        }
        let ended = self.docker.wait_for_exit(name, Duration::from_secs(desired.timeout)).await?;
        let how = match ended {
            Some(state) if state.exit_code == 0 => return Ok(()),
            Some(state) if !state.error.is_empty() => format!("could not be started: {}", state.error),
            Some(state) => {
                format!("ended with code {} after {:.0} s", state.exit_code, start.elapsed().as_secs_f64())
            }
            None => {
                self.docker.stop(name, 1).await?;
                format!("was stopped after {} s", desired.timeout)
            }
        };
        Err(Error::Job { container: name.clone(), how, log: self.last_lines(name).await })
    }

    pub(super) async fn last_lines(&self, container: &str) -> LastLines {
        LastLines(self.docker.last_lines(container, LINES).await)
    }
}
