//! Asks PostgreSQL whether it takes connections, as pg_isready does: any answer to a first packet will do, but
//! for the one that says it is starting. With a query, by the driver.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::probe::question::PostgresQuestion;
use crate::probe::stream::{Place, Stream};
use crate::probe::{Trouble, driven, of_system, quoted, system_error, theirs};

/// Words for a pass.
pub(crate) async fn ask(place: &Place, question: &PostgresQuestion) -> Result<String, Trouble> {
    let stream = Stream::connect(place).await?;
    match &question.query {
        None => greet(stream, question).await.map(|()| "accepting connections".to_owned()),
        Some(query) => run(stream, question, query).await,
    }
}

async fn greet(mut stream: Stream, question: &PostgresQuestion) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| of_system(&error);
    stream.write_all(&first_packet(question)).await.map_err(failed)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.map_err(failed)?;
    let [kind, length @ ..] = head;
    match kind {
        // It wants to know who we are: whoever asks that takes connections.
        b'R' => {
            // Nobody waits for what it says to this.
            drop(stream.write_all(GOODBYE).await);
            Ok(())
        }
        b'E' => {
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            let length = length.saturating_sub(4).min(MOST_BYTES);
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.map_err(failed)?;
            refused(&body)
        }
        _ => Err(theirs("the answer is not PostgreSQL")),
    }
}

fn first_packet(question: &PostgresQuestion) -> Vec<u8> {
    let mut body = PROTOCOL_3.to_be_bytes().to_vec();
    let database = question.database.as_ref().unwrap_or(&question.user);
    for text in [&b"user"[..], &question.user.0, b"database", &database.0] {
        body.extend(text.iter().filter(|byte| **byte != 0));
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    let mut packet = length.to_be_bytes().to_vec();
    packet.append(&mut body);
    packet
}

/// An error is an answer too: a server that refuses this user takes connections.
fn refused(body: &[u8]) -> Result<(), Trouble> {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&wanted))?;
        Some(String::from_utf8_lossy(found.get(1..)?).into_owned())
    };
    match field(b'C').as_deref() {
        Some(STARTING) => Err(theirs(format!("not yet: {}", quoted(&field(b'M').unwrap_or_default())))),
        Some(TOO_MANY) => Err(theirs(quoted(&field(b'M').unwrap_or_default()))),
        Some(_) => Ok(()),
        None => Err(theirs("the answer is not PostgreSQL")),
    }
}

async fn run(stream: Stream, question: &PostgresQuestion, query: &str) -> Result<String, Trouble> {
    let mut config = Config::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    config.user(text(&question.user.0)).application_name("mcsup");
    config.dbname(text(&question.database.as_ref().unwrap_or(&question.user).0));
    if let Some(password) = &question.password {
        config.password(&password.0);
    }
    let (read, write) = tokio::io::split(stream);
    let bounded = tokio::io::join(read.take(MOST_ANSWER_BYTES), write);
    let (client, connection) = config.connect_raw(bounded, NoTls).await.map_err(|error| explain(&error))?;
    let asked = async {
        let messages = client.simple_query(query).await.map_err(|error| explain(&error))?;
        judge(&messages, question.expect.as_deref())
    };
    driven(asked, connection).await
}

fn judge(messages: &[SimpleQueryMessage], expect: Option<&str>) -> Result<String, Trouble> {
    let rows: Vec<_> = messages
        .iter()
        .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
        .collect();
    let Some(wanted) = expect else {
        let rows = if rows.len() == 1 { "1 row".to_owned() } else { format!("{} rows", rows.len()) };
        return Ok(rows);
    };
    let Some(row) = rows.first().filter(|row| !row.is_empty()) else {
        return Err(theirs(format!("the query gave no row, wanted {:?}", quoted(wanted))));
    };
    let found = row.try_get(0).ok().flatten();
    match found {
        Some(found) if found == wanted => Ok(format!("{:?}", quoted(found))),
        Some(found) => {
            Err(theirs(format!("the query gave {:?}, wanted {:?}", quoted(found), quoted(wanted))))
        }
        None => Err(theirs(format!("the query gave NULL, wanted {:?}", quoted(wanted)))),
    }
}

fn explain(error: &tokio_postgres::Error) -> Trouble {
    if let Some(said) = error.as_db_error() {
        let is_starting = said.code().code() == STARTING;
        return theirs(format!("{}{}", if is_starting { "not yet: " } else { "" }, quoted(said.message())));
    }
    match system_error(error) {
        Some(cause) => of_system(cause),
        None if error.is_closed() => theirs("the connection was closed early"),
        None => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            match cause.as_str() {
                "password missing" => theirs("it wants a password"),
                _ => theirs(quoted(&format!("{error} {cause}"))),
            }
        }
    }
}

const PROTOCOL_3: u32 = 0x0003_0000;
/// Terminate.
const GOODBYE: &[u8] = b"X\0\0\0\x04";
/// cannot_connect_now: starting up, shutting down or recovering.
const STARTING: &str = "57P03";
/// too_many_connections: it listens and takes nobody.
const TOO_MANY: &str = "53300";
/// Of an error; the server's are a few hundred.
const MOST_BYTES: usize = 64 * 1024;
/// Of all that a query's connection is listened to.
const MOST_ANSWER_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_refuses_the_user_takes_connections_and_one_that_starts_does_not() {
        assert_eq!(refused(b"SFATAL\0C28000\0Mno pg_hba.conf entry\0\0"), Ok(()));
        let starting = refused(b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0");
        assert_eq!(starting, Err(theirs("not yet: the database system is starting up")));
        assert_eq!(
            refused(b"SFATAL\0C53300\0Msorry, too many clients already\0\0"),
            Err(theirs("sorry, too many clients already"))
        );
        assert_eq!(refused(b"hello"), Err(theirs("the answer is not PostgreSQL")));
    }
}
