//! The tables, and the way from each version of them to the next.

/// One step of the way, in both dialects.
pub(crate) struct Migration {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// The first leads from nothing to version 1. A step that has been released is never changed.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        sqlite: include_str!("schema/1.sqlite.sql"),
        postgres: include_str!("schema/1.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("schema/2.sqlite.sql"),
        postgres: include_str!("schema/2.postgres.sql"),
    },
];

/// The version that this Farthing reads and writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;
