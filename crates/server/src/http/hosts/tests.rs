use axum::body::Body;

use super::*;

const LOOPBACK: &str = "127.0.0.1";
const ANY: &str = "0.0.0.0";

/// What becomes of a request with these `Host` lines: a status, or `None` if it passes.
fn outcome(address: &str, allowed: &[&str], hosts: &[&str]) -> Option<u16> {
    let allowed = allowed.iter().map(|name| name.parse().unwrap()).collect();
    let mut request = Request::builder().uri("/v1/models");
    for host in hosts {
        request = request.header("host", *host);
    }
    refusal(address, allowed, &request.body(Body::empty()).unwrap())
}

fn refusal(address: &str, allowed: Vec<HostName>, request: &Request) -> Option<u16> {
    let hosts = Hosts::new(address.parse().unwrap(), allowed);
    hosts
        .check(request)
        .err()
        .map(|error| error.status().as_u16())
}

#[test]
fn a_local_server_answers_only_for_this_machine() {
    for host in [
        "localhost",
        "localhost:8000",
        "LocalHost.",
        "localhost.:8000",
        "farthing.localhost:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "192.168.1.7:80",
        "[::1]",
        "[::1]:8000",
        "[fe80::1]:8000",
    ] {
        for address in [LOOPBACK, "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(outcome(address, &[], &[host]), None, "{host}");
        }
    }
    for host in [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evillocalhost",
        "x",
        "xn--lcalhost-54a",
        "1.2.3.4.5",
        "0x7f.1",
    ] {
        for address in [LOOPBACK, "::1"] {
            assert_eq!(outcome(address, &[], &[host]), Some(403), "{host}");
        }
        assert_eq!(outcome(ANY, &[], &[host]), None, "{host}");
        assert_eq!(outcome("192.168.1.7", &[], &[host]), None, "{host}");
    }
}

#[test]
fn allowed_names_hold_on_every_address() {
    let allowed = ["API.example.com", "b.example."];
    for address in [LOOPBACK, ANY, "::"] {
        for host in [
            "api.example.com",
            "Api.Example.Com.:443",
            "b.example",
            "localhost",
            "10.0.0.1:8000",
        ] {
            assert_eq!(outcome(address, &allowed, &[host]), None, "{host}");
        }
        for host in ["example.com", "x.api.example.com", "evil.example"] {
            assert_eq!(outcome(address, &allowed, &[host]), Some(403), "{host}");
        }
    }
}

#[test]
fn a_host_that_is_missing_doubled_or_malformed_is_a_bad_request() {
    let long = format!("{}.example", "a".repeat(250));
    for address in [LOOPBACK, ANY] {
        assert_eq!(outcome(address, &[], &[]), Some(400));
        for hosts in [
            &["localhost", "localhost"][..],
            &["localhost", "evil.example"],
        ] {
            assert_eq!(outcome(address, &[], hosts), Some(400));
        }
        for host in [
            "",
            ":8000",
            ".",
            "a..b",
            "a b",
            "localhost:99999",
            "localhost:8a",
            "localhost:-1",
            "localhost:80:80",
            "user@localhost",
            "localhost/",
            "localhost,evil.example",
            "http://localhost",
            "[::1",
            "[::g]",
            "::1",
            "[127.0.0.1]",
            "[::1]8000",
            "<script>",
            "\u{e9}.example",
            &long,
        ] {
            assert_eq!(outcome(address, &[], &[host]), Some(400), "{host}");
        }
    }
}

/// Health checks of load balancers use HTTP/1.0.
#[test]
fn an_old_request_needs_no_host() {
    let request = Request::builder().version(Version::HTTP_10);
    let request = request.uri("/health").body(Body::empty()).unwrap();
    assert_eq!(refusal(LOOPBACK, Vec::new(), &request), None);
}

#[test]
fn the_authority_of_a_whole_url_counts_too() {
    let with = |target: &str, host: &str| {
        let request = Request::builder().uri(target).header("host", host);
        refusal(LOOPBACK, Vec::new(), &request.body(Body::empty()).unwrap())
    };
    assert_eq!(with("http://localhost:8000/v1/models", "localhost"), None);
    assert_eq!(
        with("http://evil.example/v1/models", "localhost"),
        Some(403)
    );
    assert_eq!(
        with("http://localhost/v1/models", "evil.example"),
        Some(403)
    );
    assert_eq!(
        with("http://user@localhost/v1/models", "localhost"),
        Some(400)
    );
}

#[test]
fn the_refusal_names_the_flag() {
    let hosts = Hosts::new(LOOPBACK.parse().unwrap(), Vec::new());
    let request = Request::builder().header("host", "Evil.example:80");
    let error = hosts.check(&request.body(Body::empty()).unwrap());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("allowed-host=evil.example"), "{message}");
}

#[test]
fn a_name_has_no_scheme_and_no_port() {
    for name in ["api.example.com", "host_1", "localhost"] {
        assert!(name.parse::<HostName>().is_ok(), "{name}");
    }
    for name in [
        "",
        "http://a.b",
        "a.b:80",
        "127.0.0.1",
        "[::1]",
        "*.a.b",
        "a b",
        "*",
    ] {
        assert!(name.parse::<HostName>().is_err(), "{name}");
    }
}
