//! What may be when a step is over: in the database, in the two ledgers of placement, and on either host.

use std::fmt::Write;
use std::time::Duration;

use super::hosts::Two;
use super::{Step, VOLUME, content};
use crate::moves::MIGRATION;
use crate::support::agent::Cloud as Host;
use crate::support::nova::Database;
use crate::{CONTAINER, UUID};

impl Two {
    /// Waits until all is as it may be; says what is not.
    pub(super) async fn settles(&self, step: Step) -> Result<(), String> {
        let mut wrong = String::new();
        // A destination asks a source that has gone five times, over 7.5 s, before it gives up what it has of a disk.
        for _ in 0..2000 {
            self.conduct().await;
            wrong = self.wrong(step);
            if wrong.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let changing = |host: &Host| -> Vec<String> {
            let all = host.engine.take().into_iter().filter(|request| request.method != "GET");
            all.map(|request| request.line()).collect()
        };
        let calls = self.nova().with(Database::take_names);
        Err(format!("{wrong}  engines: {:?}\n  conductor: {calls:?}", self.hosts.each_ref().map(changing)))
    }

    /// Everything that is not as it may be.
    fn wrong(&self, step: Step) -> String {
        let mut wrong = String::new();
        let text = |field: &str| self.row(field).as_str().unwrap_or("none").to_owned();
        let (state, host, task, status) = (text("vm_state"), text("host"), text("task_state"), self.status());
        let at = usize::from(host == "h2");
        let held =
            |consumer: &str| self.hosts[0].ledger.lock().unwrap().as_ref().unwrap().get(consumer).cloned();
        let on = |consumer: &str| {
            held(consumer).map(|held| held.into_keys().collect::<Vec<_>>()).unwrap_or_default()
        };
        let found = format!(
            "{state} on {host}, task {task}, migration {status}, instance holds {:?}, migration {:?}",
            on(UUID),
            on(MIGRATION)
        );
        let mut demand = |what: &str, is: bool| {
            if !is {
                let _ = writeln!(wrong, "  not so: {what} ({found})");
            }
        };
        demand("there is no task", task == "none");
        let ends: &[(&str, &str, &str)] = match step {
            Step::Resize | Step::PassedOn => {
                &[("resized", self.destination(), "finished"), ("active", "h1", "error")]
            }
            Step::Refused | Step::Smaller | Step::Unwanted => &[("active", "h1", "error")],
            Step::Confirm => &[("active", self.destination(), "confirmed")],
            Step::Revert => &[("active", "h1", "reverted")],
            // What was begun and lost is in ERROR, where it can be evacuated or rebooted again.
            Step::Evacuate => &[
                ("active", "h2", "done"),
                ("active", "h2", "completed"),
                ("error", "h1", "failed"),
                ("error", "h1", "error"),
            ],
        };
        demand("state, host and migration are an end", ends.contains(&(&state, &host, &status)));
        let moved = state == "resized";
        let mut providers = vec![self.node(at)];
        if step == Step::Evacuate && status == "done" {
            providers.push(self.node(0));
        }
        providers.sort();
        let mut holds = on(UUID);
        holds.sort();
        demand("the instance holds its host", holds == providers);
        let kept = if moved { vec![self.node(0)] } else { Vec::new() };
        demand("the migration holds the source until it is confirmed", on(MIGRATION) == kept);
        for (index, cloud) in self.hosts.iter().enumerate() {
            self.look_at(index, cloud, (index == at, moved, step, &state), &mut demand);
        }
        let port = self.hosts[0].neutron.lock().unwrap().ports.values().next().cloned().unwrap();
        if state != "error" {
            demand("the port is bound to the instance's host", port["binding:host_id"] == host.as_str());
        }
        wrong
    }

    /// Containers, disks and ports of one host.
    fn look_at(
        &self,
        index: usize,
        cloud: &Host,
        (here, moved, step, state): (bool, bool, Step, &str),
        demand: &mut impl FnMut(&str, bool),
    ) {
        let (containers, committed, volumes) = cloud
            .docker(|docker| (docker.containers.clone(), docker.committed.clone(), docker.volumes.len()));
        let content_here = cloud.docker(|docker| docker.contents.get(VOLUME).cloned());
        let name = &cloud.host;
        let is = containers.get(CONTAINER).copied();
        let ports = cloud.wiring.ports().len();
        let away = self.agents[index].is_none();
        if away {
            return;
        }
        match (here, moved) {
            (true, _) if state == "error" => {}
            (true, _) => {
                demand(&format!("the container runs on {name}: {containers:?}"), is == Some(true));
                demand(&format!("its port is plugged on {name}"), ports == 1);
            }
            (false, true) if self.to.get() == 1 => {
                demand(&format!("the source keeps the stopped container: {containers:?}"), is == Some(false));
                demand(&format!("its port is not plugged on {name}"), ports == 0);
            }
            (false, _) => {
                demand(&format!("nothing is left on {name}: {containers:?}"), containers.is_empty());
                demand(&format!("nothing is plugged on {name}"), ports == 0);
            }
        }
        let disks = usize::from(here && index == 1 && step != Step::Evacuate);
        demand(&format!("no disk is left on {name}: {committed:?}"), committed.len() == disks);
        if !(here && state == "error") {
            let kept = here || (moved && self.to.get() == 1);
            demand(
                &format!("the ephemeral disk is on {name}, or not: {volumes}"),
                volumes == usize::from(kept),
            );
            // That of a lost host is lost.
            let same = kept && step != Step::Evacuate;
            demand(&format!("what is on it is on {name}"), content_here == same.then(content));
        }
        let waiting = cloud.directory.path().join("instances").join(UUID).join("ephemeral0.tar");
        demand(&format!("nothing waits on {name} to be put on a disk"), !waiting.exists());
        let files = |folder: &str| {
            std::fs::read_dir(cloud.directory.path().join(folder)).map_or(0, |files| files.count())
        };
        demand(&format!("no file of a disk is left on {name}"), files("moves") == 0);
        demand(&format!("{name} has nothing to refuse any more"), files("refusing") == 0);
    }
}
