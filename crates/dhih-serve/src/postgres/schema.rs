//! The tables as SQL: those of a shard, those of the coordinator. Numbers alone are put into these texts, never words.

/// The oldest PostgreSQL that will do, as `server_version_num` has it: `bit_count` came with 14, and 15 is tested.
pub(super) const OLDEST: i32 = 150_000;

/// The servers' names without their numbers.
pub(super) const SERVER: &str = "dhih_shard_";

/// What a connection for searches is told. Plans are made once: those of arrays that differ in length would be made anew each time,
/// and compiling or sorting pages first takes longer than a search.
pub(super) const SESSION: &str = "SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan; SET jit = off; \
                                  SET enable_bitmapscan = off; SET search_path = pg_catalog";

/// What a connection for a load is told.
pub(super) const LOADING: &str = "SET search_path = pg_catalog; SET client_min_messages = warning";

/// The table of a generation on a shard.
pub(super) fn table(generation: i32) -> String {
    format!("dhih.codes_g{generation}")
}

/// The partitioned table of a generation on the coordinator. Of another name: a shard may be in the same database.
pub(super) fn parent(generation: i32) -> String {
    format!("dhih.all_g{generation}")
}

/// What every shard has.
pub(super) const SHARD: &str = "CREATE SCHEMA IF NOT EXISTS dhih;
CREATE TABLE IF NOT EXISTS dhih.loaded (
  generation int PRIMARY KEY,
  shard int NOT NULL,
  manifest text NOT NULL
)";

/// What the coordinator has.
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

/// A generation's table on a shard.
pub(super) fn create_table(generation: i32, bits: u32, substrings: usize) -> String {
    format!("CREATE TABLE {} ({})", table(generation), columns(bits, substrings))
}

/// How rows come into it: frozen, so that index scans need not look at the table, and no vacuum comes by later.
pub(super) fn copy(generation: i32) -> String {
    format!("COPY {} FROM STDIN WITH (FORMAT binary, FREEZE)", table(generation))
}

/// Its indexes: one a substring, which holds all that a search reads, and one to find an item.
pub(super) fn create_indexes(generation: i32, substrings: usize) -> Vec<String> {
    let table = table(generation);
    let index =
        |j| format!("CREATE INDEX ON {table} (s_{j}) INCLUDE (id, code) WITH (fillfactor = 100)");
    let mut all: Vec<String> = (0..substrings).map(index).collect();
    all.push(format!("ALTER TABLE {table} ADD PRIMARY KEY (id) WITH (fillfactor = 100)"));
    all.push(format!("ANALYZE {table}"));
    all
}

/// A generation's table on the coordinator, with a partition a shard.
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

/// The view over all shards, made to show a generation. Where its bits are others it is another view.
pub(super) fn switch_view(generation: i32, is_same_type: bool) -> String {
    let drop = if is_same_type { "" } else { "DROP VIEW IF EXISTS dhih.codes; " };
    format!(
        "{drop}CREATE OR REPLACE VIEW dhih.codes AS SELECT id, code FROM {}",
        parent(generation)
    )
}

/// Whether a search goes by what items have beside their codes. If not, the indexes hold all that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Narrowed {
    No,
    /// The last parameter is a predicate in jsonpath.
    ByPredicate,
}

impl Narrowed {
    /// The condition, with the number of the parameter. It is checked of near codes alone, since it is read from text.
    fn condition(self, parameter: usize) -> String {
        match self {
            Self::No => String::new(),
            Self::ByPredicate => format!(" AND coalesce(facets, '{{}}')::jsonb @@ ${parameter}"),
        }
    }
}

/// The codes of a probe: `$1` the query, `$2` the greatest distance, `$3` the most rows of each part, `$4` and so on the values of
/// each substring. An item may come from several parts.
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

/// All codes: the same parameters but for the values.
pub(super) fn scan(generation: i32, narrowed: Narrowed) -> String {
    let (select, narrowed) = (select(generation), narrowed.condition(4));
    format!("{select} WHERE {NEAR}{narrowed} ORDER BY distance, id LIMIT $3")
}

/// What the items `$1` have beside their codes.
pub(super) fn shown(generation: i32) -> String {
    format!("SELECT id, shown FROM {} WHERE id = ANY ($1)", table(generation))
}

/// The code of the item `$1`.
pub(super) fn code(generation: i32) -> String {
    format!("SELECT code FROM {} WHERE id = $1", table(generation))
}

const NEAR: &str = "bit_count(code # $1) <= $2";

fn select(generation: i32) -> String {
    format!("SELECT id, bit_count(code # $1) AS distance, code FROM {}", table(generation))
}
