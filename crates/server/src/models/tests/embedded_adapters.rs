use std::fs;

use super::{Fixture, Manifest};
use crate::models::embedded_adapters::unpack;

#[test]
fn every_adapter_of_a_manifest_is_carried_and_unpacked_once() {
    let fixture = Fixture::new();
    let cache = &fixture.resolver.cache;
    let manifests = Manifest::all().unwrap();
    let names: Vec<_> = manifests.iter().flat_map(|it| &it.adapters).collect();
    assert!(!names.is_empty(), "the demo has adapters");
    for name in names {
        let directory = unpack(name, cache).unwrap();
        let config = fs::read_to_string(directory.join("adapter_config.json")).unwrap();
        assert!(config.contains("\"peft_type\": \"LORA\""), "{config}");
        let weights = directory.join("adapter_model.safetensors");
        let written = fs::metadata(&weights).unwrap().modified().unwrap();

        assert_eq!(unpack(name, cache).unwrap(), directory);
        assert_eq!(fs::metadata(&weights).unwrap().modified().unwrap(), written);
    }
}

#[test]
fn a_damaged_adapter_is_unpacked_anew() {
    let fixture = Fixture::new();
    let cache = &fixture.resolver.cache;
    let weights = unpack("payment-json", cache)
        .unwrap()
        .join("adapter_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();

    unpack("payment-json", cache).unwrap();
    assert!(fs::read(&weights).unwrap() == whole);
}

#[test]
fn an_unknown_adapter_is_refused_by_name() {
    let fixture = Fixture::new();
    let refusal = unpack("nobody", &fixture.resolver.cache).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "adapter \"nobody\" is not embedded in this build"
    );
}
