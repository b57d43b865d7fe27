//! The information of the coordinator: which foreign servers are the shards, and which generation is current.

use tokio_postgres::Client;

use super::{
    Error, StoreConfig,
    address::{Address, Credentials},
    manifest::Manifest,
    schema,
    session::connect_any,
    tls::Connector,
};

/// The name of the coordinator in messages.
pub(super) const NAME: &str = "the coordinator";

/// The address of the coordinator, and the TLS connector for all servers.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) coordinator: Address,
    tls: Option<Connector>,
}

impl Way {
    /// The addresses from the settings.
    pub(super) fn new(config: &StoreConfig) -> Result<Self, Error> {
        let tls = config.ca.as_deref().map(Connector::load).transpose()?;
        let password = config.password.as_ref().map(|password| password.as_bytes().to_vec());
        let given = Credentials { user: None, password };
        let coordinator = Address::parse("the store", &config.url, &given, tls.as_ref())?;
        let coordinator = Address { what: NAME.into(), ..coordinator };
        Ok(Self { coordinator, tls })
    }

    /// The shards: foreign servers of `postgres_fdw`, with the user mapping for the current user.
    pub(super) async fn shards(&self, coordinator: &Client) -> Result<Vec<Address>, Error> {
        let sql = format!(
            "SELECT substr(server.srvname, {length})::int, srvoptions, coalesce(mine.umoptions, everybody.umoptions) \
             FROM pg_foreign_server server \
             JOIN pg_foreign_data_wrapper wrapper ON wrapper.oid = srvfdw AND fdwname = 'postgres_fdw' \
             LEFT JOIN pg_user_mappings mine ON mine.srvid = server.oid AND mine.usename = current_user \
             LEFT JOIN pg_user_mappings everybody ON everybody.srvid = server.oid AND everybody.umuser = 0 \
             WHERE server.srvname ~ '^{prefix}(0|[1-9][0-9]{{0,4}})$' ORDER BY 1",
            length = schema::SERVER.len() + 1,
            prefix = schema::SERVER,
        );
        let rows = coordinator.query(&sql, &[]).await.map_err(|e| Error::statement(NAME, &e))?;
        let given = self.coordinator.credentials();
        let mut shards = Vec::new();
        for (expected, row) in rows.iter().enumerate() {
            let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
            let (number, server, user): (i32, Option<Vec<String>>, Option<Vec<String>>) =
                read().map_err(|e| Error::statement(NAME, &e))?;
            if usize::try_from(number) != Ok(expected) {
                return Err(Error::Gap { found: rows.len(), missing: expected });
            }
            let what = format!("shard {number} ({}{number})", schema::SERVER);
            let (server, user) = (server.unwrap_or_default(), user.unwrap_or_default());
            shards.push(Address::of_server(&what, (&server, &user), &given, self.tls.as_ref())?);
        }
        if shards.is_empty() {
            return Err(Error::NoShards);
        }
        Ok(shards)
    }

    /// The current generation with its shards.
    pub(super) async fn current(&self) -> Result<(Manifest, String, Vec<Address>), Error> {
        let client = connect_any(&self.coordinator).await?;
        let (generation, json) = read_current(&client).await?.ok_or(Error::Empty)?;
        let manifest = Manifest::parse(generation, &json)?;
        let shards = self.shards(&client).await?;
        let (expected, found) = (manifest.shards.len(), shards.len());
        if expected != found {
            return Err(Error::Shards { generation, expected, found });
        }
        Ok((manifest, json, shards))
    }
}

/// The number and manifest of the current generation, if there is one.
pub(super) async fn read_current(client: &Client) -> Result<Option<(i32, String)>, Error> {
    let sql = "SELECT generation, manifest FROM dhih.generations WHERE state = 'current'";
    match client.query_opt(sql, &[]).await {
        Ok(None) => Ok(None),
        Ok(Some(row)) => {
            let read = || Ok((row.try_get(0)?, row.try_get(1)?));
            read().map(Some).map_err(|e| Error::statement(NAME, &e))
        }
        // The table or schema does not exist, because nothing was ever loaded.
        Err(e) if e.code().is_some_and(|code| ["42P01", "3F000"].contains(&code.code())) => {
            Ok(None)
        }
        Err(e) => Err(Error::statement(NAME, &e)),
    }
}
