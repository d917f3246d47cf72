//! Copies a program's output to standard output and to a log file that is rotated by size.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Size at which the file is set aside, in bytes.
const ROTATE_AT: u64 = 20 << 20;
/// Number of older files kept.
const KEPT: u32 = 3;
/// A line longer than this is written in pieces, so that a program without line ends cannot fill the memory.
const LINE_LIMIT: u64 = 64 << 10;

/// Reads `from` to its end. A failing standard output or log file stops nothing: the service matters more than its log.
pub(crate) fn copy(from: impl Read, log: Option<PathBuf>) {
    let mut file = log.and_then(|path| match LogFile::open(&path, ROTATE_AT) {
        Ok(file) => Some(file),
        Err(error) => {
            crate::say(&format!(
                "octo-init: cannot write {}: {error}; logging to standard output only",
                path.display()
            ));
            None
        }
    });
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
        if let Some(file) = &mut file {
            let _ = file.write(&line);
        }
    }
}

struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotate_at: u64,
}

impl LogFile {
    fn open(path: &Path, rotate_at: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(LogFile { path: path.to_owned(), file, size, rotate_at })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size >= self.rotate_at {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            // The older ones need not exist.
            let _ = std::fs::rename(self.aside(number), self.aside(number + 1));
        }
        std::fs::rename(&self.path, self.aside(1))?;
        *self = LogFile::open(&self.path, self.rotate_at)?;
        Ok(())
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_are_kept_up_to_three() {
        let dir = std::env::temp_dir().join(format!("octo-init-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("x.log");
        let mut log = LogFile::open(&path, 10).unwrap();
        for number in 0..12 {
            log.write(format!("line {number:03}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(read("x.log"), "line 010\nline 011\n");
        assert_eq!(read("x.log.1"), "line 008\nline 009\n");
        assert_eq!(read("x.log.3"), "line 004\nline 005\n");
        assert!(!dir.join("x.log.4").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_opened_stops_nothing() {
        copy(&b"a\nb"[..], Some("/nonexistent/x.log".into()));
    }
}
