use std::collections::HashSet;

use super::cache_salt;

#[test]
fn owners_and_salts_are_all_apart() {
    let texts = [
        None,
        Some(""),
        Some("a"),
        Some("b"),
        Some("ab"),
        Some("a\0"),
    ];
    let pairs = texts
        .iter()
        .flat_map(|owner| texts.map(|salt| (*owner, salt)));
    let salts: HashSet<_> = pairs.map(|(owner, salt)| cache_salt(owner, salt)).collect();
    assert_eq!(salts.len(), texts.len() * texts.len());
    assert_eq!(cache_salt(None, None), None);
    assert_eq!(
        cache_salt(Some("a"), Some("b")),
        cache_salt(Some("a"), Some("b"))
    );
}
