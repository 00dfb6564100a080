//! The tables, and the migrations between their versions.

/// One migration, in both dialects.
pub(crate) struct Migration {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// The first migration creates version 1. A released migration is never changed.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        sqlite: include_str!("schema/1.sqlite.sql"),
        postgres: include_str!("schema/1.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("schema/2.sqlite.sql"),
        postgres: include_str!("schema/2.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("schema/3.sqlite.sql"),
        postgres: include_str!("schema/3.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("schema/4.sqlite.sql"),
        postgres: include_str!("schema/4.postgres.sql"),
    },
];

/// The schema version of this build.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;
