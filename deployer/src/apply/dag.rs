//! Runs one future per node of a graph, each as soon as the nodes it waits for are done.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

/// Node -> nodes it waits for.
pub(crate) type Edges = BTreeMap<String, Vec<String>>;

/// How a node ended.
#[derive(Debug)]
pub(crate) enum Outcome<T, E> {
    Done(T),
    Failed(E),
    /// Something it waits for did not get done.
    Skipped {
        name: String,
        because: String,
    },
}

impl<T, E> From<Result<T, E>> for Outcome<T, E> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Outcome::Done(value),
            Err(error) => Outcome::Failed(error),
        }
    }
}

/// The edges between `names`; edges to others are dropped.
pub(crate) fn edges(names: &BTreeSet<String>, waits_for: impl Fn(&str) -> Vec<String>) -> Edges {
    let within = |name: &String| waits_for(name).into_iter().filter(|other| names.contains(other)).collect();
    names.iter().map(|name| (name.clone(), within(name))).collect()
}

/// The same graph with all arrows turned round: for going back.
pub(crate) fn reversed(edges: &Edges) -> Edges {
    let mut turned: Edges = edges.keys().map(|name| (name.clone(), Vec::new())).collect();
    for (name, others) in edges {
        for other in others {
            turned.entry(other.clone()).or_default().push(name.clone());
        }
    }
    turned
}

/// Runs `node` for every name. A failure stops what waits for it and nothing else; `skipped` hears of those.
pub(crate) async fn run<T, E, F>(
    edges: &Edges,
    node: impl Fn(String) -> F,
    skipped: impl Fn(&str),
) -> Vec<Outcome<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let states: BTreeMap<&str, watch::Sender<Option<bool>>> =
        edges.keys().map(|name| (name.as_str(), watch::Sender::new(None))).collect();
    let futures = edges.iter().map(|(name, waits_for)| {
        let (states, node, skipped) = (&states, &node, &skipped);
        async move {
            for other in waits_for {
                let Some(state) = states.get(other.as_str()) else { continue };
                // The senders outlive every waiter.
                let done =
                    state.subscribe().wait_for(Option::is_some).await.is_ok_and(|state| *state == Some(true));
                if !done {
                    states[name.as_str()].send_replace(Some(false));
                    skipped(name);
                    return Outcome::Skipped { name: name.clone(), because: other.clone() };
                }
            }
            let result = node(name.clone()).await;
            states[name.as_str()].send_replace(Some(result.is_ok()));
            result.into()
        }
    });
    futures_util::future::join_all(futures).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn graph() -> Edges {
        let names = ["api", "db", "other", "worker"].map(str::to_owned).into();
        edges(&names, |name| match name {
            "api" => vec!["db".into(), "elsewhere".into()],
            "worker" => vec!["api".into()],
            _ => vec![],
        })
    }

    #[tokio::test]
    async fn nodes_wait_for_what_they_need() {
        let order = Mutex::new(Vec::new());
        let outcomes = run(
            &graph(),
            |name| {
                let order = &order;
                async move {
                    order.lock().unwrap().push(name);
                    Ok::<_, ()>(())
                }
            },
            |_| (),
        )
        .await;
        assert_eq!(outcomes.len(), 4);
        let order = order.into_inner().unwrap();
        let at = |name: &str| order.iter().position(|other| other == name).unwrap();
        assert!(at("db") < at("api") && at("api") < at("worker"), "{order:?}");
    }

    #[tokio::test]
    async fn a_failure_stops_its_dependants_only() {
        let heard = Mutex::new(Vec::new());
        let node = |name| async move { if name == "api" { Err("broken") } else { Ok(name) } };
        let outcomes = run(&graph(), node, |name| heard.lock().unwrap().push(name.to_owned())).await;
        assert_eq!(heard.into_inner().unwrap(), ["worker"]);
        let skipped: Vec<_> =
            outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Skipped { .. })).collect();
        assert_eq!(skipped.len(), 1, "{outcomes:?}");
        assert!(
            matches!(skipped[0], Outcome::Skipped { name, because } if name == "worker" && because == "api")
        );
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count(), 2);
    }

    #[test]
    fn turning_round_twice_is_the_same_graph() {
        assert_eq!(reversed(&reversed(&graph())), graph());
    }
}
