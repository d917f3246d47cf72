//! Cycles in "needs" relations, for the dependencies of services and the parents of images.

use std::collections::BTreeMap;

/// The first cycle found, as the names along it with the first one repeated at the end.
///
/// `edges` maps a name to the names it needs; names without an entry need nothing.
pub fn cycle<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    let mut done = Vec::new();
    edges.keys().find_map(|start| visit(start, edges, &mut Vec::new(), &mut done))
}

fn visit<'a>(
    name: &'a str,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut Vec<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = path.iter().position(|seen| *seen == name) {
        return Some(path[start..].iter().copied().chain([name]).collect());
    }
    if done.contains(&name) {
        return None;
    }
    path.push(name);
    let found = edges.get(name).into_iter().flatten().find_map(|next| visit(next, edges, path, done));
    path.pop();
    done.push(name);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_returned_in_order() {
        let edges = BTreeMap::from([("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"])]);
        assert_eq!(cycle(&edges), Some(vec!["b", "c", "b"]));
    }

    #[test]
    fn a_service_that_needs_itself_is_a_cycle() {
        assert_eq!(cycle(&BTreeMap::from([("a", vec!["a"])])), Some(vec!["a", "a"]));
    }

    #[test]
    fn diamonds_are_no_cycles() {
        let edges = BTreeMap::from([("a", vec!["b", "c"]), ("b", vec!["d"]), ("c", vec!["d"])]);
        assert_eq!(cycle(&edges), None);
    }
}
