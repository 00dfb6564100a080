//! A certificate in files.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};

use crate::certificate::{trusting, write_pair};
use crate::farthing::{Farthing, Home};

/// Asks for `/health` over a connection that trusts only this certificate.
fn is_trusted_with(server: &Farthing, trusted: &CertificateDer<'static>) -> bool {
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(trusting(trusted), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(server.address).unwrap());
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut status = [0; 12];
    let answered = stream
        .write_all(request)
        .and_then(|()| stream.read_exact(&mut status));
    answered.is_ok() && status == *b"HTTP/1.1 200"
}

#[test]
fn the_start_tells_the_scheme_and_sighup_renews_the_certificate() {
    let home = Home::new();
    let old = write_pair(home.directory());
    let mut command = home.command(&home.model("tiny"));
    command
        .arg("--tls-cert")
        .arg(home.path("cert.pem"))
        .arg("--tls-key")
        .arg(home.path("key.pem"));
    let server = home.start(command);
    let address = format!("  address  https://{}/v1\n", server.address);
    assert!(
        server.start_lines.ends_with(&address),
        "{}",
        server.start_lines
    );
    assert!(is_trusted_with(&server, &old));

    // Who speaks plain HTTP there is told what to use.
    let plain = server.get("/health");
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    assert!(plain.contains("https://"), "{plain}");

    let new = write_pair(home.directory());
    server.signal(Signal::HUP);
    while !is_trusted_with(&server, &new) {
        thread::yield_now();
    }
    assert!(!is_trusted_with(&server, &old));
    let all = server.stop();
    assert!(all.contains("\ncurl -N https://"), "{all}");
}

#[test]
fn without_a_certificate_the_start_tells_http() {
    let home = Home::new();
    let server = home.serve();
    let address = format!("  address  http://{}/v1\n", server.address);
    assert!(
        server.start_lines.ends_with(&address),
        "{}",
        server.start_lines
    );
    server.stop();
}
