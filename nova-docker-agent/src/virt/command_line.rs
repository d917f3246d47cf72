//! Splits a command line into words, as a shell does that knows quotes but no variables.

/// Words of `line`: separated by blanks; `'…'` and `"…"` keep blanks; a backslash takes the next character as it is, but
/// not within `'…'`.
///
/// # Errors
/// A clause when a quote is not closed or nothing follows a backslash.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = characters.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, words) in [
            ("", &[][..]),
            ("  nginx  -g 'daemon off;' ", &["nginx", "-g", "daemon off;"]),
            (r#"sh -c "echo \"a  b\"""#, &["sh", "-c", r#"echo "a  b""#]),
            (r"a\ b 'c\d'", &["a b", r"c\d"]),
            ("x '' y", &["x", "", "y"]),
            ("--name='a'b", &["--name=ab"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn half_a_quote_is_refused() {
        assert!(split("echo 'x").is_err());
        assert!(split("echo \\").is_err());
    }
}
