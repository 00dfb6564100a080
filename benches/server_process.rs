//! A server that a benchmark measures, in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A server's process. It ends when this is dropped.
pub struct ServerProcess {
    process: Child,
    /// The address that it listens on.
    pub address: SocketAddr,
}

impl ServerProcess {
    /// Starts a command whose first line of output is the server's address.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        let stdout = process.stdout.take().context("it is piped")?;
        let read = BufReader::new(stdout).read_line(&mut address);
        let mut running = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        read?;
        running.address = address.trim().parse().context("the server did not start")?;
        Ok(running)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It has no state to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
