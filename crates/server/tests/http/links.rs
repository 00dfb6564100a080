//! Links in the directory of adapters.

use std::fs;
use std::os::unix::fs::symlink;

use farthing_testkit::RandomAdapter;

use crate::adapters::{CONFIG, WEIGHTS, ask, assert_refused, load};
use crate::wire::Server;

#[tokio::test]
async fn nothing_outside_the_directory_is_ever_read() {
    let server = Server::start().await;
    let outside = tempfile::tempdir().unwrap();
    let stranger = outside.path().join("stranger");
    RandomAdapter::new(5).write(&stranger, server.shelf.base());
    let shelf = server.shelf.directory();
    symlink(&stranger, shelf.join("link")).unwrap();
    fs::create_dir(shelf.join("half")).unwrap();
    for file in [CONFIG, WEIGHTS] {
        symlink(stranger.join(file), shelf.join("half").join(file)).unwrap();
    }
    server.shelf.put("weights-out", 6);
    fs::remove_file(shelf.join("weights-out").join(WEIGHTS)).unwrap();
    symlink(
        stranger.join(WEIGHTS),
        shelf.join("weights-out").join(WEIGHTS),
    )
    .unwrap();
    let climbing = format!(
        "../../{}/stranger",
        outside.path().file_name().unwrap().display()
    );
    assert!(
        shelf.join(&climbing).join(CONFIG).exists(),
        "the climb leads there"
    );

    let absolute = stranger.display().to_string();
    for path in [
        "link",
        "half",
        "weights-out",
        "legal/../link",
        &climbing,
        &absolute,
        "/",
        ".",
    ] {
        assert_refused(&load(&server, "x", path).await, 404, "No adapter found for");
        let response = server.post("/v1/completions", &ask(path)).await;
        assert_refused(&response, 404, "does not exist");
    }
    // A link that stays inside is as good as what it points to.
    symlink(shelf.join("legal"), shelf.join("alias")).unwrap();
    assert_eq!(load(&server, "x", "alias").await.status, 200);
}

#[tokio::test]
async fn a_link_is_no_second_name_for_callers() {
    let server = Server::start().await;
    server.shelf.put("team/draft", 6);
    let shelf = server.shelf.directory();
    symlink("team", shelf.join("crew")).unwrap();
    symlink("team/draft", shelf.join("sketch")).unwrap();
    symlink(".", shelf.join("loop")).unwrap();
    for name in ["crew/draft", "sketch", "loop/legal", "loop/loop/team/draft"] {
        let response = server.post("/v1/completions", &ask(name)).await;
        assert_refused(&response, 404, "does not exist");
    }
    let listed = server.get("/v1/lora_adapters").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}
