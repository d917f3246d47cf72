//! The only process of a sandbox: it sleeps until it is killed. (The network namespace lives as long as it does.)

fn main() {
    loop {
        std::thread::park();
    }
}
