//! The SQL of the tables of shards and coordinator. Only numbers are inserted into these texts, never strings.

/// The oldest supported PostgreSQL, in the form of `server_version_num`: `bit_count` exists since 14, and 15 is tested.
pub(super) const OLDEST: i32 = 150_000;

/// The prefix of the names of foreign servers, which the number follows.
pub(super) const SERVER: &str = "dhih_shard_";

/// The settings of a connection for searches. Generic plans avoid planning anew for arrays of every length. JIT compilation and bitmap
/// scans are disabled, because compiling, or sorting pages, takes longer than a search.
pub(super) const SESSION: &str = "SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan; SET jit = off; \
                                  SET enable_bitmapscan = off; SET search_path = pg_catalog";

/// The settings of a connection for loads.
pub(super) const LOADING: &str = "SET search_path = pg_catalog; SET client_min_messages = warning";

/// The table of a generation on a shard.
pub(super) fn table(generation: i32) -> String {
    format!("dhih.codes_g{generation}")
}

/// The partitioned table of a generation on the coordinator. Its name differs from that on a shard, because a shard may be in the same
/// database.
pub(super) fn parent(generation: i32) -> String {
    format!("dhih.all_g{generation}")
}

/// The tables of every shard.
pub(super) const SHARD: &str = "CREATE SCHEMA IF NOT EXISTS dhih;
CREATE TABLE IF NOT EXISTS dhih.loaded (
  generation int PRIMARY KEY,
  shard int NOT NULL,
  manifest text NOT NULL
)";

/// The tables of the coordinator.
pub(super) const COORDINATOR: &str = "CREATE SCHEMA IF NOT EXISTS dhih;
CREATE TABLE IF NOT EXISTS dhih.generations (
  generation int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  state text NOT NULL CHECK (state IN ('loading', 'current', 'previous', 'leaving', 'dropped')),
  manifest text,
  since timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS one_is_current ON dhih.generations (state) WHERE state = 'current'";

fn columns(bits: u32, substrings: usize) -> String {
    let parts: String = (0..substrings).map(|j| format!(", s_{j} int NOT NULL")).collect();
    format!("id bigint NOT NULL, code bit({bits}) NOT NULL, facets text, shown text{parts}")
}

/// Creates the table of a generation on a shard.
pub(super) fn create_table(generation: i32, bits: u32, substrings: usize) -> String {
    format!("CREATE TABLE {} ({})", table(generation), columns(bits, substrings))
}

/// Copies rows into the table. They are frozen, so that index-only scans need not visit the table and no vacuum is needed later.
pub(super) fn copy(generation: i32) -> String {
    format!("COPY {} FROM STDIN WITH (FORMAT binary, FREEZE)", table(generation))
}

/// Creates the indexes: a covering index for each substring, which has all columns that a search reads, and one for finding items.
pub(super) fn create_indexes(generation: i32, substrings: usize) -> Vec<String> {
    let table = table(generation);
    let index =
        |j| format!("CREATE INDEX ON {table} (s_{j}) INCLUDE (id, code) WITH (fillfactor = 100)");
    let mut all: Vec<String> = (0..substrings).map(index).collect();
    all.push(format!("ALTER TABLE {table} ADD PRIMARY KEY (id) WITH (fillfactor = 100)"));
    all.push(format!("ANALYZE {table}"));
    all
}

/// Creates the partitioned table of a generation on the coordinator, with one partition for each shard.
pub(super) fn create_parent(
    generation: i32,
    bits: u32,
    (substrings, shards): (usize, usize),
) -> Vec<String> {
    let parent = parent(generation);
    let columns = columns(bits, substrings);
    let mut all = vec![format!("CREATE TABLE {parent} ({columns}) PARTITION BY HASH (id)")];
    all.extend((0..shards).map(|shard| {
        format!(
            "CREATE FOREIGN TABLE {parent}_p{shard} PARTITION OF {parent} FOR VALUES WITH (MODULUS {shards}, REMAINDER {shard}) \
             SERVER {SERVER}{shard} OPTIONS (schema_name 'dhih', table_name 'codes_g{generation}', updatable 'false')"
        )
    }));
    all
}

/// Switches the view over all shards to a generation. If the number of bits differs, the view must be recreated.
pub(super) fn switch_view(generation: i32, is_same_type: bool) -> String {
    let drop = if is_same_type { "" } else { "DROP VIEW IF EXISTS dhih.codes; " };
    format!(
        "{drop}CREATE OR REPLACE VIEW dhih.codes AS SELECT id, code FROM {}",
        parent(generation)
    )
}

/// Whether a search is restricted by labels or metadata. An unrestricted search reads the indexes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Narrowed {
    No,
    /// By a predicate in jsonpath, the last parameter.
    ByPredicate,
}

impl Narrowed {
    /// The SQL condition. It follows the condition on the distance, because it parses the document of each item that it checks.
    fn condition(self, parameter: usize) -> String {
        match self {
            Self::No => String::new(),
            Self::ByPredicate => format!(" AND coalesce(facets, '{{}}')::jsonb @@ ${parameter}"),
        }
    }
}

/// Searches by probing: `$1` is the query, `$2` the greatest distance, `$3` the most rows of each part, `$4` and the following the values
/// of each substring, and the last one the predicate. Several parts may return the same item.
pub(super) fn probe(generation: i32, substrings: usize, narrowed: Narrowed) -> String {
    let (select, narrowed) = (select(generation), narrowed.condition(substrings + 4));
    let part = |j| {
        format!(
            "({select} WHERE s_{j} = ANY (${}) AND {NEAR}{narrowed} ORDER BY distance, id LIMIT $3)",
            j + 4
        )
    };
    (0..substrings).map(part).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Searches by scanning all codes, with the same parameters except the values.
pub(super) fn scan(generation: i32, narrowed: Narrowed) -> String {
    let (select, narrowed) = (select(generation), narrowed.condition(4));
    format!("{select} WHERE {NEAR}{narrowed} ORDER BY distance, id LIMIT $3")
}

/// Reads the labels and metadata of the items `$1`.
pub(super) fn shown(generation: i32) -> String {
    format!("SELECT id, facets, shown FROM {} WHERE id = ANY ($1)", table(generation))
}

/// Reads the code of the item `$1`.
pub(super) fn code(generation: i32) -> String {
    format!("SELECT code FROM {} WHERE id = $1", table(generation))
}

const NEAR: &str = "bit_count(code # $1) <= $2";

fn select(generation: i32) -> String {
    format!("SELECT id, bit_count(code # $1) AS distance, code FROM {}", table(generation))
}
