//! The same codes in pgvector and in the service, asked by the same number of clients: pgvector by pgbench with prepared statements, the
//! service over HTTP. pgvector answers exactly by reading all codes, and approximately by an HNSW graph.

mod server;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::server::{PgBench, Postgres, Server};
use super::service::Service;
use super::{Bench, number, text};

/// The codes: like learned ones of so many classes (`examples/generate_codes.rs`).
const ITEMS: usize = 1_000_000;
const BITS: usize = 64;
const CLASSES: &str = "100";
const CLIENTS: [usize; 2] = [1, 16];
/// Queries for the recall.
const QUERIES: usize = 200;
/// Lines of a request that adds items.
const LINES: usize = 20_000;

/// What is searched: the condition in SQL, and the filter of the service.
struct Case {
    name: &'static str,
    sql: &'static str,
    filter: Option<(&'static str, &'static str)>,
}

const CASES: [Case; 3] = [
    Case { name: "all items", sql: "", filter: None },
    Case {
        name: "0.1 % by a filter",
        sql: "WHERE thousandth = 7",
        filter: Some(("thousandth", "7")),
    },
    Case { name: "10 % by a filter", sql: "WHERE tenth = 3", filter: Some(("tenth", "3")) },
];

/// Settings of approximate searches: a name and options of the server.
const GRAPHS: [(&str, &str); 2] =
    [("ef_search 40", "-c hnsw.ef_search=40"), ("ef_search 200", "-c hnsw.ef_search=200")];
/// With it pgvector goes on until enough items pass the filter.
const ITERATIVE: &str = "-c hnsw.iterative_scan=strict_order";

/// A line of the table.
struct Row {
    what: &'static str,
    program: String,
    clients: usize,
    per_second: f64,
    p50: f64,
    p99: f64,
    recall: f64,
}

impl Row {
    fn line(&self) -> String {
        let Self { what, program, clients, per_second, p50, p99, recall } = self;
        format!(
            "| {what} | {program} | {clients} | {per_second:.0} | {p50:.2} | {p99:.2} | {recall:.3} |"
        )
    }
}

impl Bench<'_> {
    /// The table, or a line for why there is none.
    pub(super) fn pgvector(&self) -> Result<String> {
        let postgres = match Postgres::find(self.args.postgres.as_deref(), self.workspace)? {
            Ok(postgres) => postgres,
            Err(reason) => return Ok(format!("pgvector was skipped: {reason}")),
        };
        let (codes, queries) = (self.file("pgvector.npy"), self.file("pgvector-queries.npy"));
        if !codes.exists() {
            let counts = [&ITEMS.to_string()[..], &BITS.to_string()[..]];
            let words = [text(&codes)?, text(&queries)?, counts[0], counts[1], CLASSES];
            self.step("generate", "generate_codes", &words)?.run()?;
        }
        let codes = super::hexadecimal(&read(&codes)?, BITS)?;
        let queries = super::hexadecimal(&read(&queries)?, BITS)?;
        let file = self.file("pgvector-queries.txt");
        fs::write(&file, &queries).with_context(|| format!("cannot write {}", file.display()))?;
        let mut rows = Vec::new();
        let ours = self.ours(&codes, &file, &mut rows)?;
        let server = Server::start(&postgres, self.workspace)?;
        let theirs = self.theirs(&server, &codes, &queries, &mut rows)?;
        let table: Vec<String> = rows.iter().map(Row::line).collect();
        Ok(format!(
            "| searched | program | clients | searches a second | p50, ms | p99, ms | recall of the 10 nearest |\n|---|---|---:|---:|---:|---:|---:|\n{}\n\n\
             {ITEMS} codes of {BITS} bits, like learned ones of {CLASSES} classes, the 10 nearest. {} with {} by pgbench with prepared statements, on loopback. {ours} {theirs}",
            table.join("\n"),
            postgres.version,
            postgres.extension,
        ))
    }

    /// The service, whose searches are exact.
    fn ours(&self, codes: &str, queries: &Path, rows: &mut Vec<Row>) -> Result<String> {
        let dir = self.fresh("pgvector-collections")?;
        fs::create_dir_all(&dir)?;
        let words = ["--collections", text(&dir)?, "--bind", "127.0.0.1:0", "--json"];
        let words = [&words[..], &["--log-level", "error"]].concat();
        let service = Service::start(&self.step("serve", "dhih-serve", &words)?)?;
        let bits = json!({ "bits": BITS }).to_string();
        let collection = "/v1/collections/codes";
        service.send("PUT", collection, Some(("application/json", &bits)))?;
        let fields = json!({"fields": {"thousandth": "number", "tenth": "number"}}).to_string();
        let path = format!("{collection}/fields");
        service.send("PUT", &path, Some(("application/json", &fields)))?;
        let started = Instant::now();
        add(&service, &format!("{collection}/items/batch"), codes)?;
        let seconds = started.elapsed().as_secs_f64();
        let queries = format!("codes={}", text(queries)?);
        for case in &CASES {
            let filter = case.filter.map_or(String::new(), |(field, value)| {
                let filter = format!("{{\"must\":[{{\"field\":\"{field}\",\"equals\":{value}}}]}}");
                format!("&filter={}", escaped(&filter))
            });
            let path = format!("path={collection}/search?k=10{filter}");
            for clients in CLIENTS {
                let connections = format!("connections={clients}");
                let words = [&queries[..], &path, &connections, &self.seconds()];
                // The first search under a filter finds out which items pass.
                self.load(&service, &[&queries[..], &path, "connections=1", "seconds=0.5"])?;
                let seen: Value = self.load(&service, &words)?;
                let failed = number(&seen, "/requests")? - super::good(&seen);
                if failed > 0.0 {
                    bail!("{failed} searches failed: {seen}");
                }
                rows.push(Row {
                    what: case.name,
                    program: "dhih-serve, exact".into(),
                    clients,
                    per_second: number(&seen, "/per_second")?,
                    p50: number(&seen, "/accepted_ms/p50")?,
                    p99: number(&seen, "/accepted_ms/p99")?,
                    recall: 1.0,
                });
            }
        }
        Ok(format!("Adding the items with their metadata took the service {seconds:.0} s."))
    }

    /// pgvector: all codes are read before there is a graph, and the graph is asked after that.
    fn theirs(
        &self,
        server: &Server<'_>,
        codes: &str,
        queries: &str,
        rows: &mut Vec<Row>,
    ) -> Result<String> {
        let loaded = Instant::now();
        server.sql(&format!(
            "CREATE EXTENSION vector;
             CREATE TABLE codes (id bigint PRIMARY KEY, code bit({BITS}) NOT NULL, thousandth int NOT NULL, tenth int NOT NULL);
             CREATE TABLE queries (n int PRIMARY KEY, code bit({BITS}) NOT NULL)"
        ))?;
        let mut lines = String::new();
        for (id, code) in codes.lines().enumerate() {
            let _ = writeln!(lines, "{id}\t{}\t{}\t{}", binary(code)?, id % 1000, id % 10);
        }
        server.copy("codes", &lines)?;
        lines.clear();
        for (n, code) in queries.lines().enumerate() {
            let _ = writeln!(lines, "{n}\t{}", binary(code)?);
        }
        server.copy("queries", &lines)?;
        server.sql(
            "CREATE INDEX ON codes (thousandth); CREATE INDEX ON codes (tenth); VACUUM ANALYZE codes; VACUUM ANALYZE queries",
        )?;
        let loaded = loaded.elapsed().as_secs_f64();
        for (number, case) in CASES.iter().enumerate() {
            // The distance of the 10th nearest, by which the recall of the graph is told: many codes are equally far.
            server.sql(&format!(
                "CREATE TABLE exact_{number} AS SELECT n, max(d) AS worst FROM (SELECT * FROM queries WHERE n < {QUERIES}) q
                 CROSS JOIN LATERAL (SELECT code <~> q.code AS d FROM codes {} ORDER BY d LIMIT 10) nearest GROUP BY n",
                case.sql
            ))?;
            let exact = Asked { case, program: "pgvector, exact", options: "", recall: 1.0 };
            ask(server, &exact, self.args.seconds, rows)?;
        }
        let built = Instant::now();
        server.sql("CREATE INDEX ON codes USING hnsw (code bit_hamming_ops)")?;
        let built = built.elapsed().as_secs_f64();
        for (number, case) in CASES.iter().enumerate() {
            for (name, options) in GRAPHS {
                let options = match case.filter {
                    Some(_) => format!("{options} {ITERATIVE}"),
                    None => options.to_owned(),
                };
                let recall = server.sql_with(
                    &options,
                    &format!(
                        "SELECT count(*) FILTER (WHERE d <= worst)::float / {} FROM exact_{number} JOIN queries q USING (n)
                         CROSS JOIN LATERAL (SELECT code <~> q.code AS d FROM codes {} ORDER BY d LIMIT 10) nearest",
                        10 * QUERIES,
                        case.sql
                    ),
                )?;
                let recall = recall.trim().parse().with_context(|| format!("recall {recall:?}"))?;
                let program = format!("pgvector, HNSW, {name}");
                let asked = Asked { case, program: &program, options: &options, recall };
                ask(server, &asked, self.args.seconds, rows)?;
            }
        }
        Ok(format!(
            "Loading them took PostgreSQL {loaded:.0} s, and building the graph {built:.0} s more. Under a filter PostgreSQL chooses between the graph, which it reads on \
             until enough items pass (`{ITERATIVE}`), and the index of the filter. Recall counts what is as near as the 10th, of {QUERIES} queries."
        ))
    }
}

/// Searches that are sent to pgvector.
struct Asked<'a> {
    case: &'a Case,
    program: &'a str,
    /// Options of the connections.
    options: &'a str,
    recall: f64,
}

fn ask(server: &Server<'_>, asked: &Asked<'_>, seconds: u32, rows: &mut Vec<Row>) -> Result<()> {
    let Asked { case, program, options, recall } = asked;
    let script = format!(
        "\\set n random(0, 999)\nSELECT id FROM codes {} ORDER BY code <~> (SELECT code FROM queries WHERE n = :n) LIMIT 10;\n",
        case.sql
    );
    for clients in CLIENTS {
        let seen = server.bench(&PgBench { script: &script, options, clients, seconds })?;
        rows.push(Row {
            what: case.name,
            program: (*program).to_owned(),
            clients,
            per_second: seen.per_second,
            p50: seen.percentile(0.5),
            p99: seen.percentile(0.99),
            recall: *recall,
        });
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Adds the codes with the metadata that the filters go by, and merges them into one data file.
fn add(service: &Service, path: &str, codes: &str) -> Result<()> {
    let codes: Vec<&str> = codes.lines().collect();
    for (request, codes) in codes.chunks(LINES).enumerate() {
        let mut body = String::new();
        for (at, code) in codes.iter().enumerate() {
            let id = request * LINES + at;
            let metadata = json!({"thousandth": id % 1000, "tenth": id % 10});
            let _ = writeln!(body, "{}", json!({"id": id, "code": code, "metadata": metadata}));
        }
        let made = service.send("POST", path, Some(("application/x-ndjson", &body)))?;
        if made["added"] != codes.len() {
            bail!("not all lines were added: {}", made["failed"]);
        }
    }
    Ok(())
}

/// A text as a value of a query string.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A code in hexadecimal as a `bit` of PostgreSQL. The order of the bits does not matter to distances.
fn binary(code: &str) -> Result<String> {
    let digit = |digit: char| {
        let value = digit.to_digit(16).with_context(|| format!("{code} is not hexadecimal"))?;
        Ok(format!("{value:04b}"))
    };
    code.chars().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_in_bits() {
        assert_eq!(binary("0fa1").unwrap(), "0000111110100001");
        assert!(binary("0g").is_err());
    }
}
