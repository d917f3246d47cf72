//! How large the viewer's terminal is. The way from the browser carries bytes and nothing else, so the terminal itself is asked:
//! the cursor goes to the far corner, and where it has arrived is told (DSR and CPR of ECMA-48), among what is typed.

/// Columns and rows.
pub(super) type Size = (u16, u16);

/// What is asked, before anything else is shown: the cursor is back where it was afterwards.
pub(super) const QUESTION: &[u8] = b"\x1b7\x1b[999;999H\x1b[6n\x1b8";

/// The smallest sizes that are believed; a key (F3 with Shift) sends an answer of row 1.
const LEAST: Size = (10, 2);

const ESCAPE: u8 = 0x1b;

/// Takes the answer out of what is typed. All other bytes pass, in their order.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// What may become the answer.
    held: Vec<u8>,
    /// It has come, or is not waited for any more.
    done: bool,
}

/// What a beginning of bytes is.
enum Read {
    /// It may become an answer.
    Beginning,
    /// It is one.
    Answer(Size),
    /// It will never be one.
    Other,
}

impl Listener {
    /// What of `bytes` was typed, and the answer if it is complete now.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Size>) {
        let (mut typed, mut size) = (Vec::with_capacity(bytes.len()), None);
        for &byte in bytes {
            if self.done {
                typed.push(byte);
                continue;
            }
            if byte == ESCAPE {
                typed.append(&mut self.held);
            }
            self.held.push(byte);
            match read(&self.held) {
                Read::Beginning => {}
                Read::Other => typed.append(&mut self.held),
                Read::Answer(answer) => {
                    size = Some(answer);
                    self.held.clear();
                    self.done = true;
                }
            }
        }
        (typed, size)
    }

    /// Whether something is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What was held back: an answer would have come in one go.
    pub(super) fn release(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Everything passes from now on; what was held back.
    pub(super) fn stop(&mut self) -> Vec<u8> {
        self.done = true;
        self.release()
    }

    /// Whether the answer is still waited for.
    pub(super) fn waits(&self) -> bool {
        !self.done
    }
}

/// `ESC [ rows ; columns R`
fn read(bytes: &[u8]) -> Read {
    let rest = match bytes {
        [ESCAPE] | [ESCAPE, b'['] => return Read::Beginning,
        [ESCAPE, b'[', rest @ ..] => rest,
        _ => return Read::Other,
    };
    let mut numbers: [Option<u16>; 2] = [None, None];
    let mut index = 0;
    for (place, &byte) in rest.iter().enumerate() {
        let digit = u16::from(byte.wrapping_sub(b'0'));
        match byte {
            b'0'..=b'9' if numbers[index].is_none_or(|number| number < 1000) => {
                numbers[index] = Some(numbers[index].unwrap_or_default() * 10 + digit);
            }
            b';' if index == 0 && numbers[0].is_some() => index = 1,
            b'R' if place + 1 == rest.len() => {
                return match numbers {
                    [Some(rows), Some(columns)] if columns >= LEAST.0 && rows >= LEAST.1 => {
                        Read::Answer((columns, rows))
                    }
                    _ => Read::Other,
                };
            }
            _ => return Read::Other,
        }
    }
    Read::Beginning
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heard(pieces: &[&[u8]]) -> (Vec<u8>, Option<Size>) {
        let mut listener = Listener::default();
        let (mut typed, mut size) = (Vec::new(), None);
        for piece in pieces {
            let (more, answer) = listener.hear(piece);
            typed.extend(more);
            size = size.or(answer);
        }
        typed.extend(listener.stop());
        (typed, size)
    }

    #[test]
    fn an_answer_is_taken_out_in_any_cut() {
        let bytes = b"ls\x1b[40;132R -l\r";
        for cut in 0..bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(heard(&[before, after]), (b"ls -l\r".to_vec(), Some((132, 40))), "cut at {cut}");
        }
    }

    #[test]
    fn keys_that_begin_like_an_answer_pass() {
        for keys in [
            &b"\x1b"[..],
            b"\x1b\x1b",
            b"\x1b[A",
            b"\x1b[1;5A",
            b"\x1b[1;2R",
            b"\x1b[R",
            b"\x1b[24R",
            b"\x1b[24;R",
            b"\x1b[;80R",
            b"\x1b[24;80;1R",
            b"\x1b[99999;80R",
            b"\x1bOR",
            b"24;80R",
        ] {
            assert_eq!(heard(&[keys]), (keys.to_vec(), None), "{keys:?}");
        }
    }

    #[test]
    fn one_answer_is_ours_the_next_is_the_program_s() {
        let (typed, size) = heard(&[b"\x1b\x1b[24;80R\x1b[10;20R"]);
        assert_eq!((typed.as_slice(), size), (&b"\x1b\x1b[10;20R"[..], Some((80, 24))));
    }

    #[test]
    fn what_is_held_too_long_is_let_go() {
        let mut listener = Listener::default();
        assert_eq!(listener.hear(b"\x1b"), (vec![], None));
        assert!(listener.holds() && listener.waits());
        assert_eq!(listener.release(), b"\x1b");
        assert_eq!(listener.hear(b"[24;80R"), (b"[24;80R".to_vec(), None));
        listener.stop();
        assert_eq!(listener.hear(b"\x1b[24;80R"), (b"\x1b[24;80R".to_vec(), None));
    }

    proptest! {
        #[test]
        fn nothing_typed_is_lost(bytes in prop::collection::vec(prop::sample::select(b"\x1b[;R019a".to_vec()), 0..64), cut in 0_usize..64) {
            let (before, after) = bytes.split_at(cut.min(bytes.len()));
            let (typed, size) = heard(&[before, after]);
            match size {
                None => prop_assert_eq!(typed, bytes),
                Some((columns, rows)) => {
                    // What is missing is the answer: zeros may lead its numbers.
                    let missing = bytes.len() - typed.len();
                    let shortest = format!("\x1b[{rows};{columns}R");
                    prop_assert!(missing >= shortest.len());
                }
            }
        }
    }
}
