//! YAML to typed values: the only file that names the YAML crate.
//!
//! A typed reader stops at its first error. A person who edits a file wants all of them, so after an error the smallest block
//! that holds it is blanked out (line numbers stay) and the rest is read again.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::problem::{Place, Problem, did_you_mean};

/// More errors than this in one file help nobody, and bound the work on a hostile file.
const MAX_ERRORS: usize = 30;

/// A value and the place in its file where it stands. Line and column count from 1; 0 means "not from a file".
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(from = "serde_saphyr::Spanned<T>")]
pub struct At<T> {
    /// The value itself.
    pub value: T,
    /// Where the value stands.
    pub place: Place,
}

impl<T> From<serde_saphyr::Spanned<T>> for At<T> {
    fn from(spanned: serde_saphyr::Spanned<T>) -> Self {
        let place = place_of(&spanned.referenced);
        At { value: spanned.value, place }
    }
}

impl<T> At<T> {
    /// A value that stands in no file: a default.
    pub fn nowhere(value: T) -> Self {
        At { value, place: Place::default() }
    }
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// A YAML mapping that keeps the order of the file and the place of every key.
#[derive(Debug, Clone)]
pub struct Entries<T>(Vec<(At<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<T> Entries<T> {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    /// Keys with their places and values, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&At<String>, &T)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The values alone, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// The keys alone, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.value.as_str())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<At<String>, T>()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

impl<T: Serialize> Serialize for Entries<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (&key.value, value)))
    }
}

/// What could be read of a file.
pub(super) struct Parsed<T> {
    /// The typed value; without the blocks that had errors. `None` when nothing could be made of the file.
    pub(super) value: Option<T>,
    /// Every error met.
    pub(super) problems: Vec<Problem>,
    /// Names on the blanked lines: they exist for the reader, so no cross-check may call them unknown.
    pub(super) blanked: BTreeSet<String>,
}

/// Reads `text` as a `T`, collecting all errors. `file` is the name used in messages.
pub(super) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Parsed<T> {
    let mut parsed = Parsed { value: None, problems: Vec::new(), blanked: BTreeSet::new() };
    // Broken YAML first and alone: types read before the break would be complained of for no reason.
    if let Err(error) = serde_saphyr::from_str::<serde::de::IgnoredAny>(text) {
        let explained = explain(error.without_snippet());
        parsed.problems.push(Problem::new(file, text, place(&error), explained.message, explained.help));
        return parsed;
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut blank_lines = BTreeSet::new();
    while parsed.problems.len() < MAX_ERRORS {
        let error = match serde_saphyr::from_str::<T>(&(lines.join("\n") + "\n")) {
            Ok(value) => {
                parsed.value = Some(value);
                break;
            }
            Err(error) => error,
        };
        let explained = explain(error.without_snippet());
        if let Some(stand_in) = explained.stand_in
            && replace_word(&mut lines, place(&error), stand_in)
        {
            parsed.problems.push(Problem::new(file, text, place(&error), explained.message, explained.help));
            continue;
        }
        let block = block_to_blank(&lines, place(&error), explained.of_whole_mapping);
        // A mapping that lost a key to the blanking lacks it through no fault of the author.
        let our_own_doing =
            block.as_ref().is_some_and(|block| blank_lines.range(block.clone()).next().is_some());
        if !our_own_doing {
            parsed.problems.push(Problem::new(file, text, place(&error), explained.message, explained.help));
        }
        let Some(block) = block else { break };
        blank_lines.extend(block.clone());
        for line in &mut lines[block] {
            parsed.blanked.insert(key_of(line).to_owned());
            line.clear();
        }
    }
    parsed
}

/// Reads one scalar the way a YAML file would (`true`, `3`, `text`), for `--set key=value`.
pub(super) fn scalar(text: &str) -> Result<serde_json::Value, String> {
    serde_saphyr::from_str(text).map_err(|error| explain(error.without_snippet()).message)
}

struct Explained {
    message: String,
    help: Option<String>,
    /// True when the error is about a mapping as a whole, and its place is the mapping's first key.
    of_whole_mapping: bool,
    /// A value of the right type, so that the rest of the mapping can be read.
    stand_in: Option<&'static str>,
}

fn explain(error: &serde_saphyr::Error) -> Explained {
    use serde_saphyr::Error as E;
    let said = |message: String, help: Option<String>| Explained {
        message,
        help,
        of_whole_mapping: false,
        stand_in: None,
    };
    match error {
        E::SerdeUnknownField { field, expected, .. } => {
            let help = did_you_mean(field, expected.iter().copied())
                .unwrap_or_else(|| format!("known keys: {}", expected.join(", ")));
            said(format!("unknown key `{field}`"), Some(help))
        }
        E::SerdeUnknownVariant { variant, expected, .. } => {
            let help = did_you_mean(variant, expected.iter().copied())
                .unwrap_or_else(|| format!("one of: {}", expected.join(", ")));
            said(format!("unknown value `{variant}`"), Some(help))
        }
        E::SerdeMissingField { field, .. } => {
            Explained { of_whole_mapping: true, ..said(format!("the key `{field}` is missing"), None) }
        }
        E::DuplicateMappingKey { key, .. } => said(
            format!("the key {} stands here twice", key.as_deref().map_or("".into(), |k| format!("`{k}`"))),
            Some("remove or rename one of the two".into()),
        ),
        E::SerdeInvalidType { unexpected, expected, .. }
        | E::SerdeInvalidValue { unexpected, expected, .. } => {
            said(format!("found {unexpected}, expected {expected}"), None)
        }
        E::InvalidScalar { ty, .. } => {
            let stand_in = Some(if *ty == "bool" { "true" } else { "1" });
            Explained { stand_in, ..said(format!("this is no {}", in_words(ty)), None) }
        }
        E::Message { .. } | E::Unexpected { .. } | E::NullIntoString { .. } => said(plain(error), None),
        _ => said(format!("not valid YAML: {}", plain(error)), None),
    }
}

/// Rust's name of a type as a person would say it.
fn in_words(ty: &str) -> &str {
    match ty {
        "bool" => "`true` or `false`",
        "u16" => "whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "whole number",
        "f32" | "f64" => "number",
        other => other,
    }
}

/// The error's own words without its location, which the problem already shows.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let cut = first.find(" at line ").unwrap_or(first.len());
    first[..cut].to_owned()
}

fn place(error: &serde_saphyr::Error) -> Place {
    error.location().map(|location| place_of(&location)).unwrap_or_default()
}

fn place_of(location: &serde_saphyr::Location) -> Place {
    // Places are 32-bit inside the YAML crate too; saturating only guards the type.
    Place {
        line: usize::try_from(location.line()).unwrap_or(usize::MAX),
        column: usize::try_from(location.column()).unwrap_or(usize::MAX),
    }
}

/// The lines to blank: the key on the line of `place` with everything indented below it, or the nearest key above when that
/// line starts none. For an error about a whole mapping: the key above whose value the mapping is.
fn block_to_blank(lines: &[String], place: Place, of_whole_mapping: bool) -> Option<std::ops::Range<usize>> {
    let mut start = place.line.checked_sub(1)?.min(lines.len().checked_sub(1)?);
    let first_key = indent(&lines[start]);
    if of_whole_mapping && place.column == first_key + 1 {
        start = (0..start)
            .rev()
            .find(|&above| !key_of(&lines[above]).is_empty() && indent(&lines[above]) < first_key)?;
    }
    while key_of(&lines[start]).is_empty() {
        start = start.checked_sub(1)?;
    }
    let own = indent(&lines[start]);
    let end = lines[start + 1..]
        .iter()
        .position(|line| !line.trim().is_empty() && indent(line) <= own)
        .map_or(lines.len(), |offset| start + 1 + offset);
    Some(start..end)
}

/// Puts `word` over the plain word at `place`; false when there is none.
fn replace_word(lines: &mut [String], place: Place, word: &str) -> bool {
    let Some(line) = place.line.checked_sub(1).and_then(|index| lines.get_mut(index)) else { return false };
    let start = line.char_indices().nth(place.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let plain = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
    let end = line[start..].find(|c| !plain(c)).map_or(line.len(), |length| start + length);
    if start == end || &line[start..end] == word {
        return false;
    }
    line.replace_range(start..end, word);
    true
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The key a line starts with, or an empty string.
fn key_of(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with(['#', '-', '{', '[']) {
        return "";
    }
    match line.split_once(':') {
        Some((key, rest)) if rest.is_empty() || rest.starts_with(char::is_whitespace) => {
            key.trim_matches(['"', '\''])
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        things: Entries<Thing>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by the parser")]
    struct Thing {
        size: u32,
        #[serde(default)]
        colour: Option<At<String>>,
    }

    fn messages(text: &str) -> Vec<String> {
        parse::<Sample>("f.yaml", text)
            .problems
            .iter()
            .map(|p| format!("{}:{} {}", p.place.line, p.place.column, p.message))
            .collect()
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let parsed = parse::<Sample>("f.yaml", "things:\n  a: { size: 1, colour: red }\n");
        let sample = parsed.value.unwrap();
        let (key, thing) = sample.things.iter().next().unwrap();
        assert_eq!((key.place.line, key.place.column), (2, 3));
        let colour = thing.colour.as_ref().unwrap();
        assert_eq!((colour.place.line, colour.place.column, colour.as_str()), (2, 25, "red"));
    }

    #[test]
    fn all_errors_are_found_not_only_the_first() {
        let text = "things:\n  a:\n    size: 1\n    color: red\n  b:\n    size: big\n  c:\n    size: 3\n    sise: 4\n";
        let found = messages(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("4:") && found[1].starts_with("6:") && found[2].starts_with("9:"),
            "{found:?}"
        );
    }

    #[test]
    fn broken_yaml_is_one_error() {
        let found = messages("things:\n  a: { size: 1\n  b: {}\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("not valid YAML"), "{found:?}");
    }

    #[test]
    fn a_duplicate_key_is_an_error() {
        let found = messages("things:\n  a: { size: 1 }\n  a: { size: 2 }\n");
        assert!(found[0].starts_with("3:3") && found[0].contains("`a`"), "{found:?}");
    }
}
