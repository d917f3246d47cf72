//! Reads a flavor's extra specs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Error;

/// The number that a flavor's extra spec is, if it has it.
///
/// # Errors
/// [`Error::InvalidSpec`] when it is none or out of `range`.
pub(super) fn number(
    specs: &BTreeMap<String, String>,
    name: &str,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, Error> {
    let Some(text) = specs.get(name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    let (low, high) = range.into_inner();
    let wrong = || wrong(name, text, &format!("must be a number from {low} to {high}"));
    number.map(Some).ok_or_else(wrong)
}

/// What is wrong with a flavor's extra spec; `why` follows "but ".
pub(super) fn wrong(name: &str, text: &str, why: &str) -> Error {
    Error::InvalidSpec(format!("the flavor's {name} is {text}, but {why}"))
}
