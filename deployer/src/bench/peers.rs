//! How fast TCP is between two network namespaces, measured by two threads of this process that enter them: what is
//! measured is the network, not programs in the containers.

use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use super::stats::Samples;

/// The port in the second namespace.
pub(super) const PORT: u16 = 5210;
/// How long bytes are sent.
const SENDING: Duration = Duration::from_secs(3);
/// A write's size, as iperf3's.
const BLOCK: usize = 128 << 10;
/// One byte there and back, this often.
const ROUND_TRIPS: usize = 1000;
/// Longest wait for the other side.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// Bits that arrived per second.
    pub(super) bits: f64,
    /// Median of a byte's time there and back.
    pub(super) round_trip: Duration,
}

/// Measures from the namespace of process `from` to `address`, which is in that of process `to`. Blocks.
///
/// # Errors
/// When a namespace cannot be entered (that takes root on the host of the containers), or the connection breaks.
pub(super) fn measure(from: i64, to: i64, address: &str) -> Result<Way> {
    let address: SocketAddr = format!("{address}:{PORT}").parse().map_err(Error::other)?;
    let (ready, listening) = mpsc::channel();
    let server = std::thread::spawn(move || {
        enter(to)?;
        let listener = TcpListener::bind(("0.0.0.0", PORT))?;
        let _ = ready.send(());
        answer(&listener)
    });
    // When the server cannot listen it tells why below.
    let _ = listening.recv();
    let client = std::thread::spawn(move || {
        enter(from)?;
        ask(&address)
    });
    let asked = client.join().map_err(|_| Error::other("the sender panicked"))?;
    if server.is_finished() || asked.is_ok() {
        let bits = server.join().map_err(|_| Error::other("the receiver panicked"))??;
        return Ok(Way { bits, round_trip: asked? });
    }
    // The server still waits for a connection that will not come; it ends with the process.
    Err(asked.err().unwrap_or_else(|| Error::other("no connection")))
}

/// Only this thread is in the namespace from now on.
fn enter(pid: i64) -> Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// First answers bytes, then takes all that comes and says how many bits a second that was.
fn answer(listener: &TcpListener) -> Result<f64> {
    let (mut stream, _) = listener.accept()?;
    prepare(&stream)?;
    let mut byte = [0];
    for _ in 0..ROUND_TRIPS {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
    }
    let mut block = vec![0; BLOCK];
    let (start, mut bytes) = (Instant::now(), 0_u64);
    loop {
        match stream.read(&mut block)? {
            0 => break,
            count => bytes += count as u64,
        }
    }
    // Far below 2^52 bytes.
    #[expect(clippy::cast_precision_loss, reason = "what is sent in seconds fits")]
    let bits = bytes as f64 * 8.0;
    Ok(bits / start.elapsed().as_secs_f64())
}

/// The other side of [`answer`].
fn ask(address: &SocketAddr) -> Result<Duration> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    prepare(&stream)?;
    let mut samples = Samples::default();
    let mut byte = [1];
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        samples.push(start.elapsed());
    }
    let block = vec![0; BLOCK];
    let start = Instant::now();
    while start.elapsed() < SENDING {
        stream.write_all(&block)?;
    }
    Ok(samples.median())
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_figures_are_measured_in_one_namespace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || answer(&listener).unwrap());
        let round_trip = ask(&address).unwrap();
        assert!(round_trip > Duration::ZERO && round_trip < Duration::from_secs(1), "{round_trip:?}");
        assert!(server.join().unwrap() > 1e6);
    }

    #[test]
    fn a_process_that_is_gone_has_no_namespace() {
        assert_eq!(enter(i64::from(i32::MAX)).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
