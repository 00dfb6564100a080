use clap::Parser;

use super::*;
use crate::cli::args::{Args, Command};

fn config(flags: &[&str]) -> anyhow::Result<Config> {
    let args = Args::try_parse_from([&["farthing"], flags].concat())?;
    let Command::Serve(serve) = args.into_command() else {
        panic!("{flags:?} does not serve");
    };
    Config::try_from(*serve)
}

#[test]
fn nothing_typed_serves_the_demo_at_an_example_price() {
    for flags in [&[][..], &["serve"]] {
        let config = config(flags).unwrap();
        assert_eq!(config.model.model, "smollm2-135m-instruct");
        assert_eq!(config.price, Price::Example("0.10".parse().unwrap()));
        assert_eq!(config.http.address.to_string(), "127.0.0.1:8000");
    }
}

#[test]
fn another_model_has_no_price_unless_one_is_given() {
    let other = ["--model", "m.gguf"];
    assert_eq!(config(&other).unwrap().price, Price::Unknown);
    let priced = [&other[..], &["--price-per-hour", "2.99"]].concat();
    assert_eq!(
        config(&priced).unwrap().price,
        Price::Given("2.99".parse().unwrap())
    );
}

#[test]
fn vllms_names_for_types_are_taken() {
    for (name, compute_type) in [
        ("auto", None),
        ("bfloat16", Some(ComputeType::Bf16)),
        ("bf16", Some(ComputeType::Bf16)),
        ("float32", Some(ComputeType::F32)),
    ] {
        assert_eq!(
            config(&["--dtype", name]).unwrap().model.compute_type,
            compute_type
        );
    }
}

#[test]
fn adapters_and_memory_are_read() {
    let flags = [
        "--adapter",
        "a=x/y",
        "--adapter",
        "b=z=1",
        "--kv-cache-memory",
        "0.5",
    ];
    let config = config(&flags).unwrap();
    let adapters: Vec<_> = config
        .adapters
        .named
        .iter()
        .map(|adapter| (adapter.name.as_str(), adapter.directory.to_str().unwrap()))
        .collect();
    assert_eq!(adapters, [("a", "x/y"), ("b", "z=1")]);
    assert_eq!(config.limits.kv_cache_bytes, Some(1 << 29));
}

#[test]
fn steps_are_as_large_as_the_device() {
    let limits = |flags: &[&str]| {
        let limits = config(&[&["--device", "cpu"], flags].concat())
            .unwrap()
            .limits;
        (limits.max_num_seqs, limits.max_num_batched_tokens)
    };
    assert_eq!(limits(&[]), (64, 512));
    assert_eq!(limits(&["--max-num-seqs", "600"]), (600, 600));
    assert_eq!(limits(&["--max-num-batched-tokens", "32"]), (32, 32));
    for (name, gib, expected) in [
        ("NVIDIA H100 80GB HBM3", 79, (1024, 8192)),
        ("NVIDIA H200", 140, (1024, 8192)),
        ("NVIDIA A100-SXM4-80GB", 79, (256, 2048)),
        ("NVIDIA L4", 22, (256, 2048)),
    ] {
        let step = StepLimits::of_gpu(name, gib << 30);
        let found = (step.max_num_seqs, step.max_num_batched_tokens);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (flags, expected) in [
        (
            &["--max-num-seqs", "0"][..],
            "--max-num-seqs must be at least 1",
        ),
        (
            &["--max-num-batched-tokens", "8", "--max-num-seqs", "9"],
            "must be at least --max-num-seqs",
        ),
        (
            &["--adapter", "a=x", "--adapter", "a=y"],
            "the name \"a\" is used twice",
        ),
        (&["--adapter", "a"], "expected NAME=DIR"),
        (&["--kv-cache-memory", "0"], "--kv-cache-memory"),
        (&["--price-per-hour", "cheap"], "for example 0.10"),
        (&["--dtype", "fp8"], "invalid value 'fp8'"),
        (&["--gpu-memory-utilization", "1.1"], "expected a share"),
        (&["--tls-cert", "cert.pem"], "--tls-key <FILE>"),
        (&["--tls-key", "key.pem"], "--tls-cert <FILE>"),
        (&["--host", "0.0.0.0"], "--insecure-no-keys"),
        (&["--host", "::"], "--keys FILE"),
        (
            &["--keys", "keys.toml", "--insecure-no-keys"],
            "cannot be used with",
        ),
        (
            &["--allowed-host", "https://api.example.com"],
            "without a scheme or a port",
        ),
        (
            &["--allowed-host", "localhost:8000"],
            "without a scheme or a port",
        ),
    ] {
        let error = config(flags).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn other_machines_are_let_in_with_keys_or_knowingly_without() {
    for flags in [
        &["--host", "0.0.0.0", "--keys", "keys.toml"][..],
        &["--host", "0.0.0.0", "--insecure-no-keys"],
        &["--host", "127.0.0.2"],
        &["--host", "::1"],
    ] {
        assert!(config(flags).is_ok(), "{flags:?}");
    }
    let keys = config(&["--keys", "keys.toml"]).unwrap().http.keys;
    assert_eq!(keys.unwrap().path().to_str(), Some("keys.toml"));
}

#[test]
fn a_certificate_and_its_key_are_read_together() {
    assert!(config(&[]).unwrap().http.tls.is_none());
    let flags = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let tls = config(&flags).unwrap().http.tls.unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(PathBuf::from);
    assert_eq!((tls.certificate, tls.key), (certificate, key));
}

#[test]
fn the_adapters_limits_fit_each_other() {
    let adapters = config(&["--max-loras", "4", "--max-cpu-loras", "9"])
        .unwrap()
        .adapters;
    assert_eq!(
        (adapters.max_on_device, adapters.max_in_host_memory),
        (4, 9)
    );
    let refused = |flags: &[&str]| config(flags).unwrap_err().to_string();
    let message = refused(&["--max-adapters", "9", "--max-cpu-loras", "8"]);
    assert!(message.contains("--max-cpu-loras"), "{message}");
    let message = refused(&["--max-adapters", "0", "--adapter-dir", "x"]);
    assert!(message.contains("--max-adapters 0"), "{message}");
    let none = config(&["--max-adapters", "0"]).unwrap().adapters;
    assert_eq!(none.max_in_host_memory, 0);
}

#[test]
fn adapters_may_change_where_somebody_may_change_them() {
    for (flags, may_change) in [
        (&[][..], false),
        (&["--adapter", "a=b"], false),
        (&["--adapter-dir", "x"], true),
        (&["--adapters-from-hub"], true),
        (&["--admin-key", "k"], true),
    ] {
        assert_eq!(
            config(flags).unwrap().adapters_may_change(),
            may_change,
            "{flags:?}"
        );
    }
}

#[test]
fn the_admin_key_shows_nowhere() {
    let config = config(&["--admin-key", "open sesame"]).unwrap();
    assert!(!format!("{config:?}").contains("sesame"));
    assert!(Args::try_parse_from(["farthing", "--admin-key", " "]).is_err());
}

#[test]
fn a_device_is_named_or_chosen() {
    for (flag, device) in [
        ("cpu", DeviceKind::Cpu),
        ("cuda", DeviceKind::Cuda(0)),
        ("cuda:1", DeviceKind::Cuda(1)),
    ] {
        assert_eq!(config(&["--device", flag]).unwrap().model.device, device);
    }
    for wrong in ["gpu", "cuda:", "cuda:x", "CPU"] {
        let error = config(&["--device", wrong]).unwrap_err().to_string();
        assert!(
            error.contains("expected auto, cpu, cuda, or cuda:1"),
            "{error}"
        );
    }
}
