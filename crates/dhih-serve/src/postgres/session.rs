//! A connection to one host: connects, applies settings, and checks the server's version (15 or newer) and, for searches, that the host
//! holds the generation. `shard` chooses the host.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::{
    CancelToken, Client, NoTls, Row, Statement,
    types::{ToSql, Type},
};

use crate::search::Neighbour;

use super::{
    Error,
    address::{Address, Endpoint},
    bit_string::BitString,
    error::told,
    facets::{Description, Row as Described},
    json_path::JsonPath,
    schema::{self, Narrowed},
    tls::Connector,
};

/// The time limit for checking what a host holds.
const PREPARE: Duration = Duration::from_secs(3);

/// Connects to a host, within the time limit of its connection string.
pub(super) async fn connect(host: &Endpoint) -> Result<Client, String> {
    let within = host.config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(2));
    let connected = timeout(within, connect_unhurried(host)).await;
    connected.map_err(|_| format!("no connection within {} s", within.as_secs_f32()))?
}

async fn connect_unhurried(host: &Endpoint) -> Result<Client, String> {
    let client = match host.tls.clone() {
        Some(tls) => {
            let (client, connection) = host.config.connect(tls).await.map_err(|e| told(&e))?;
            tokio::spawn(connection);
            client
        }
        None => {
            let (client, connection) = host.config.connect(NoTls).await.map_err(|e| told(&e))?;
            tokio::spawn(connection);
            client
        }
    };
    let version = client.query_one("SELECT current_setting('server_version_num')::int", &[]).await;
    let version: i32 = version.and_then(|row| row.try_get(0)).map_err(|e| told(&e))?;
    if version < schema::OLDEST {
        let (found, oldest) = (version / 10_000, schema::OLDEST / 10_000);
        return Err(format!("this is PostgreSQL {found}; {oldest} or newer is needed"));
    }
    Ok(client)
}

/// Whether a host accepts connections, or at least answers with an error.
pub(super) async fn is_there(host: &Endpoint) -> bool {
    let refused = |error: &tokio_postgres::Error| error.as_db_error().is_some();
    match host.tls.clone() {
        Some(tls) => {
            host.config.connect(tls).await.map(drop).map_or_else(|e| refused(&e), |()| true)
        }
        None => host.config.connect(NoTls).await.map(drop).map_or_else(|e| refused(&e), |()| true),
    }
}

/// Connects to the first host of an address that answers.
pub(super) async fn connect_any(address: &Address) -> Result<Client, Error> {
    let mut reasons = Vec::new();
    for host in &address.hosts {
        match connect(host).await {
            Ok(client) => return Ok(client),
            Err(reason) => reasons.push(format!("{}: {reason}", host.name)),
        }
    }
    Err(Error::Unreachable { what: address.what.clone(), reasons })
}

/// What a host must hold to be searched.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) generation: i32,
    pub(super) shard: usize,
    pub(super) bits: u32,
    pub(super) substrings: usize,
    /// Whether the generation has labels or metadata.
    pub(super) has_facets: bool,
    /// The manifest in the form that the coordinator has.
    pub(super) manifest: String,
    /// The time limit of a statement.
    pub(super) timeout: Duration,
}

/// A question to a shard.
#[derive(Debug, Clone)]
pub(super) enum Question {
    /// The nearest items within a distance that satisfy the predicate, if there is one: among those with the given values of substrings, or
    /// among all codes.
    Near {
        code: BitString,
        distance: u32,
        most: i64,
        values: Option<Vec<Vec<i32>>>,
        predicate: Option<JsonPath>,
    },
    /// The code of an item.
    Item(i64),
    /// The labels and metadata of items.
    Shown(Vec<i64>),
}

/// The answer of a shard.
#[derive(Debug)]
pub(super) enum Answer {
    /// Hits in any order, or the code of the item at distance 0.
    Items(Vec<Neighbour>),
    /// Labels and metadata of items, in any order.
    Shown(Vec<(u64, Description)>),
}

impl Answer {
    pub(super) fn items(self) -> Vec<Neighbour> {
        match self {
            Self::Items(items) => items,
            Self::Shown(_) => Vec::new(),
        }
    }

    pub(super) fn shown(self) -> Vec<(u64, Description)> {
        match self {
            Self::Shown(shown) => shown,
            Self::Items(_) => Vec::new(),
        }
    }
}

/// A checked connection with its prepared statements.
pub(super) struct Session {
    client: Client,
    tls: Option<Connector>,
    bits: u32,
    search: Search,
    item: Statement,
    described: Option<OfDescribed>,
}

/// The prepared statements of searches.
struct Search {
    probe: Statement,
    scan: Statement,
}

/// The prepared statements of generations with labels or metadata.
struct OfDescribed {
    narrowed: Search,
    shown: Statement,
}

impl Session {
    /// Opens a session with a host, if it holds what is to be searched.
    pub(super) async fn open(host: &Endpoint, held: &Held) -> Result<Self, String> {
        let client = connect(host).await?;
        let prepared = timeout(PREPARE, Self::prepare(client, host.tls.clone(), held)).await;
        prepared.map_err(|_| "it takes connections and does not answer".to_owned())?
    }

    async fn prepare(client: Client, tls: Option<Connector>, held: &Held) -> Result<Self, String> {
        let Held { generation, shard, bits, substrings, has_facets, manifest, timeout } = held;
        let settings =
            format!("{}; SET statement_timeout = {}", schema::SESSION, timeout.as_millis());
        client.batch_execute(&settings).await.map_err(|e| told(&e))?;
        let found = "SELECT shard, manifest FROM dhih.loaded WHERE generation = $1";
        let found = client.query_opt(found, &[generation]).await.map_err(|e| {
            format!("it holds no generation {generation}: {}; load the codes, or wait until it has caught up", told(&e))
        })?;
        let Some(row) = found else {
            return Err(format!(
                "it holds no generation {generation}: it has not caught up, or that was dropped for a newer one; reload the service"
            ));
        };
        let (number, text): (i32, String) = both(&row)?;
        if usize::try_from(number) != Ok(*shard) || text != *manifest {
            return Err(format!(
                "its generation {generation} is another one, of a shard {number}: see that the foreign servers name the right hosts"
            ));
        }
        let prepare = async |sql: String, types: &[Type]| {
            client.prepare_typed(&sql, types).await.map_err(|e| told(&e))
        };
        let search = async |narrowed: Narrowed| {
            let near = [Type::BIT, Type::INT8, Type::INT8];
            let values = std::iter::repeat_n(Type::INT4_ARRAY, *substrings);
            let predicate = (narrowed == Narrowed::ByPredicate).then_some(Type::JSONPATH);
            let mut types: Vec<Type> = near.iter().cloned().chain(values).collect();
            types.extend(predicate.clone());
            let probe = prepare(schema::probe(*generation, *substrings, narrowed), &types).await?;
            let types: Vec<Type> = near.into_iter().chain(predicate).collect();
            let scan = prepare(schema::scan(*generation, narrowed), &types).await?;
            Ok::<_, String>(Search { probe, scan })
        };
        let described = match has_facets {
            false => None,
            true => Some(OfDescribed {
                narrowed: search(Narrowed::ByPredicate).await?,
                shown: prepare(schema::shown(*generation), &[Type::INT8_ARRAY]).await?,
            }),
        };
        let search = search(Narrowed::No).await?;
        let item = prepare(schema::code(*generation), &[Type::INT8]).await?;
        Ok(Self { client, tls, bits: *bits, search, item, described })
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The answer to a question.
    pub(super) async fn answer(&self, question: &Question) -> Result<Answer, String> {
        let mut cancel =
            CancelAtServer { query: Some((self.client.cancel_token(), self.tls.clone())) };
        let answer = self.query(question).await;
        cancel.query = None;
        answer
    }

    async fn query(&self, question: &Question) -> Result<Answer, String> {
        let undescribed = || "its generation has codes alone".to_owned();
        match question {
            Question::Near { code, distance, most, values, predicate } => {
                let distance = i64::from(*distance);
                let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![code, &distance, most];
                let values = values.as_ref();
                parameters.extend(values.into_iter().flatten().map(|it| it as &(dyn ToSql + Sync)));
                parameters.extend(predicate.iter().map(|it| it as &(dyn ToSql + Sync)));
                let search = match predicate {
                    None => &self.search,
                    Some(_) => &self.described.as_ref().ok_or_else(undescribed)?.narrowed,
                };
                let statement = if values.is_some() { &search.probe } else { &search.scan };
                let rows = self.client.query(statement, &parameters).await.map_err(|e| told(&e))?;
                rows.iter()
                    .map(|row| self.neighbour(row))
                    .collect::<Result<_, _>>()
                    .map(Answer::Items)
            }
            Question::Item(id) => {
                let row = self.client.query_opt(&self.item, &[id]).await.map_err(|e| told(&e))?;
                let hit = |row: Row| {
                    let code = self.code(row.try_get(0).map_err(|e| told(&e))?)?;
                    Ok(Neighbour { distance: 0, id: *id as u64, code })
                };
                row.map(hit).into_iter().collect::<Result<_, _>>().map(Answer::Items)
            }
            Question::Shown(ids) => {
                let statement = &self.described.as_ref().ok_or_else(undescribed)?.shown;
                let rows = self.client.query(statement, &[ids]).await.map_err(|e| told(&e))?;
                let described = |row: &Row| {
                    let (id, facets): (i64, Option<String>) = both(row)?;
                    let shown = row.try_get(2).map_err(|e| told(&e))?;
                    Ok((id as u64, Described { facets, shown }.description()?))
                };
                rows.iter().map(described).collect::<Result<_, String>>().map(Answer::Shown)
            }
        }
    }

    fn neighbour(&self, row: &Row) -> Result<Neighbour, String> {
        let (id, distance): (i64, i64) = both(row)?;
        let code = self.code(row.try_get(2).map_err(|e| told(&e))?)?;
        let number = (u64::try_from(id), u32::try_from(distance));
        let (Ok(id), Ok(distance)) = number else {
            return Err(format!("the item {id} at distance {distance} cannot be"));
        };
        Ok(Neighbour { distance, id, code })
    }

    fn code(&self, string: BitString) -> Result<Vec<u8>, String> {
        string.code(self.bits).ok_or_else(|| format!("a code that has no {} bits", self.bits))
    }
}

/// Cancels a statement on the server if this is dropped before the answer arrives. Otherwise, a server continues with a statement whose
/// client has gone until it has data to send.
struct CancelAtServer {
    query: Option<(CancelToken, Option<Connector>)>,
}

impl Drop for CancelAtServer {
    fn drop(&mut self) {
        let (Some((token, tls)), Ok(runtime)) = (self.query.take(), Handle::try_current()) else {
            return;
        };
        runtime.spawn(timeout(PREPARE, async move {
            let cancelled = match tls {
                Some(tls) => token.cancel_query(tls).await,
                None => token.cancel_query(NoTls).await,
            };
            if let Err(error) = cancelled {
                tracing::debug!(%error, "a query could not be cancelled");
            }
        }));
    }
}

/// The first two columns of a row.
fn both<'a, A, B>(row: &'a Row) -> Result<(A, B), String>
where
    A: tokio_postgres::types::FromSql<'a>,
    B: tokio_postgres::types::FromSql<'a>,
{
    let read = || Ok((row.try_get(0)?, row.try_get(1)?));
    read().map_err(|e: tokio_postgres::Error| told(&e))
}
