//! Models from a hub, which is a fake one on this machine.

use super::*;

#[test]
fn a_hub_model_is_fetched_verified_and_found_again() {
    let weights = content();
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let hub = FakeHub::serve(&[
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", index.as_bytes()),
        ("model-1.safetensors", &weights),
        ("model-2.safetensors", &weights[1..]),
        ("consolidated.safetensors", b"the same weights once more"),
        ("pytorch_model.bin", b"a pickle"),
        ("modeling.py", b"code"),
    ]);
    let mut fixture = Fixture::new();
    fixture.resolver.hub.endpoint = hub.endpoint();
    fixture.resolver.hub.token = Some("secret".into());
    let request = request("owner/name");
    let ModelFiles::Directory(folder) = fixture.resolve(request).unwrap().files else {
        panic!()
    };
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ]
    );
    assert_eq!(
        fs::read(folder.join("model-2.safetensors")).unwrap(),
        &weights[1..]
    );
    assert!(
        fixture
            .said
            .borrow()
            .iter()
            .any(|line| line.starts_with("verified sha256"))
    );
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.contains("authorization: bearer secret"))
    );

    // Again, and by its commit, without a hub.
    hub.stop();
    fixture.resolver.hub.offline = true;
    assert!(fixture.resolve(request).is_ok());
    let commit = ModelRequest {
        revision: Some(fake_hub::COMMIT),
        ..request
    };
    assert!(fixture.resolve(commit).is_ok());
    fs::remove_file(folder.join("model-1.safetensors")).unwrap();
    assert!(fixture.error(request).contains("HF_HUB_OFFLINE"));
}

#[test]
fn a_damaged_hub_file_is_not_kept() {
    let weights = content();
    let files = [
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", &weights),
    ];
    let hub = FakeHub::serve(&files).damage("model.safetensors");
    let mut fixture = Fixture::new();
    fixture.resolver.hub.endpoint = hub.endpoint();
    assert!(fixture.error(request("owner/name")).contains("SHA-256"));
    // The next start fetches it anew.
    let hub = FakeHub::serve(&files);
    fixture.resolver.hub.endpoint = hub.endpoint();
    assert!(fixture.resolve(request("owner/name")).is_ok());
}

#[test]
fn what_the_hub_refuses_is_told() {
    let mut fixture = Fixture::new();
    for (status, told) in [
        (401, "HF_TOKEN"),
        (403, "HF_TOKEN"),
        (404, "not found at revision"),
    ] {
        let hub = FakeHub::refuse(status);
        fixture.resolver.hub.endpoint = hub.endpoint();
        let message = fixture.error(request("owner/name"));
        assert!(message.contains(told), "{message}");
    }
    let hub = FakeHub::serve(&[
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{}"),
        ("pytorch_model.bin", b"a pickle"),
    ]);
    fixture.resolver.hub.endpoint = hub.endpoint();
    assert!(
        fixture
            .error(request("owner/name"))
            .contains("pickled weights are never read")
    );
    let hub = FakeHub::serve(&[
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{}"),
        (
            "model.safetensors.index.json",
            br#"{"weight_map": {"a": "../../x.safetensors"}}"#,
        ),
    ]);
    fixture.resolver.hub.endpoint = hub.endpoint();
    assert!(
        fixture
            .error(request("other/name"))
            .contains("../../x.safetensors")
    );
}

#[test]
fn an_adapter_is_fetched_from_the_hub_verified_and_found_again() {
    let weights = content();
    let hub = FakeHub::serve(&[
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", &weights),
        ("adapter_model.bin", b"a pickle"),
        ("README.md", b"words"),
    ]);
    let fixture = Fixture::new();
    let mut adapters = adapters(&fixture);
    adapters.hub.endpoint = hub.endpoint();
    let folder = adapters.get("owner/name").unwrap().unwrap();
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
    assert!(folder.canonicalize().unwrap().starts_with(adapters.root()));
    hub.stop();
    adapters.hub.offline = true;
    assert_eq!(adapters.get("owner/name").unwrap().unwrap(), folder);
    let error = adapters.get("owner/other").unwrap().unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    for no_id in ["name", "../name", "owner/../name", "/etc/passwd", ""] {
        assert!(adapters.get(no_id).is_none(), "{no_id}");
    }
}

#[test]
fn a_pickled_adapter_is_refused() {
    let hub = FakeHub::serve(&[
        ("adapter_config.json", b"{}"),
        ("adapter_model.bin", b"a pickle"),
    ]);
    let fixture = Fixture::new();
    let mut adapters = adapters(&fixture);
    adapters.hub.endpoint = hub.endpoint();
    let error = adapters.get("owner/name").unwrap().unwrap_err();
    assert!(error.to_string().contains("safetensors"), "{error}");
}

/// A hub that has one adapter.
fn hub_with_adapter() -> FakeHub {
    FakeHub::serve(&[
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", &content()),
    ])
}

/// The hub takes both for one repository.
#[test]
fn a_name_in_another_case_is_no_second_repository() {
    let (hub, fixture) = (hub_with_adapter(), Fixture::new());
    let mut adapters = adapters(&fixture);
    adapters.hub.endpoint = hub.endpoint();
    for other in ["Owner/name", "owner/NAME", "OWNER/NAME"] {
        let error = adapters.get(other).unwrap().unwrap_err().to_string();
        assert!(error.contains("the hub calls it `owner/name`"), "{error}");
    }
    // Nothing was stored for them, nor for what does not exist.
    adapters.hub.endpoint = FakeHub::refuse(404).endpoint();
    assert!(adapters.get("owner/none").unwrap().is_err());
    assert!(
        fs::read_dir(fixture.folder.path())
            .unwrap()
            .next()
            .is_none()
    );
    adapters.hub.endpoint = hub.endpoint();
    assert!(adapters.get(fake_hub::REPO).unwrap().is_ok());
}

#[test]
fn an_adapter_beyond_the_memory_for_adapters_is_not_downloaded() {
    let (hub, fixture) = (hub_with_adapter(), Fixture::new());
    let mut adapters = adapters(&fixture);
    adapters.hub.endpoint = hub.endpoint();
    adapters.max_file_bytes = content().len() as u64 - 1;
    let error = adapters.get(fake_hub::REPO).unwrap().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("the memory for adapters"), "{error}");
    let mut requests = hub.requests().into_iter();
    assert!(!requests.any(|request| request.contains("adapter_model")));
    adapters.max_file_bytes += 1;
    assert!(adapters.get(fake_hub::REPO).unwrap().is_ok());
}

fn adapters(fixture: &Fixture) -> HubAdapters {
    HubAdapters {
        hub: fixture.resolver.hub.clone(),
        cache: fixture.resolver.cache.clone(),
        max_file_bytes: u64::MAX,
    }
}
