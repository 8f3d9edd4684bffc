//! What is there: tables, chains, commented rules, elements.
//!
//! Not here: changing it.

use super::super::{ACK, DUMP, Error, Socket, Writer, attrs, find_attr};
use super::{DATA_VALUE, Family, Hook, SUBSYS, comment_data};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;

fn request(kind: u16) -> u16 {
    (SUBSYS << 8) | kind
}

fn text(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether what no rule decides about is dropped.
    pub drops: bool,
}

/// The base chains at a hook.
pub fn chains(socket: &Socket, family: Family, hook: Hook) -> Result<Vec<Chain>, Error> {
    let mut w = Writer::new();
    let head = [family.number(), 0, 0, 0];
    w.message("list chains", request(GETCHAIN), DUMP, &head, |_| {});
    let mut all = Vec::new();
    let number =
        |bytes: Option<&[u8]>| bytes.and_then(|b| Some(u32::from_be_bytes(b.try_into().ok()?)));
    socket.dump(&w, |message| {
        let Some(body) = message.payload.get(4..) else { return };
        let at = find_attr(body, 4).and_then(|h| number(find_attr(h, 1)));
        if at == Some(hook as u32) {
            all.push(Chain {
                table: text(find_attr(body, 1)),
                name: text(find_attr(body, 3)),
                drops: number(find_attr(body, 5)) == Some(0),
            });
        }
    })?;
    Ok(all)
}

/// The handles of a chain's rules that have a comment.
pub fn rules_with_comment(
    socket: &Socket,
    family: Family,
    (table, chain): (&str, &str),
    comment: &str,
) -> Result<Vec<u64>, Error> {
    let mut w = Writer::new();
    let head = [family.number(), 0, 0, 0];
    w.message("list rules", request(GETRULE), DUMP, &head, |w| {
        w.attr_str(1, table);
        w.attr_str(2, chain);
    });
    let mut handles = Vec::new();
    socket.dump(&w, |message| {
        let Some(body) = message.payload.get(4..) else { return };
        let ours = find_attr(body, 7) == Some(comment_data(comment).as_slice());
        let here = text(find_attr(body, 1)) == table && text(find_attr(body, 2)) == chain;
        let handle = find_attr(body, 3).and_then(|h| h.try_into().ok()).map(u64::from_be_bytes);
        if let Some(handle) = handle.filter(|_| ours && here) {
            handles.push(handle);
        }
    })?;
    Ok(handles)
}

/// An element's key and data.
pub type Element = (Vec<u8>, Vec<u8>);

/// The elements of a set as (key, data); data is empty for sets and verdict maps.
pub fn elements(
    socket: &Socket,
    family: Family,
    table: &str,
    set: &str,
) -> Result<Vec<Element>, Error> {
    let mut w = Writer::new();
    let head = [family.number(), 0, 0, 0];
    w.message("list elements", request(GETSETELEM), DUMP, &head, |w| {
        w.attr_str(1, table);
        w.attr_str(2, set);
    });
    let mut all = Vec::new();
    let value = |e: &[u8], kind| {
        find_attr(e, kind)
            .and_then(|d| find_attr(d, DATA_VALUE))
            .map(<[u8]>::to_vec)
            .unwrap_or_default()
    };
    socket.dump(&w, |message| {
        let list = message.payload.get(4..).and_then(|p| find_attr(p, 3));
        for (_, e) in list.into_iter().flat_map(attrs) {
            all.push((value(e, 1), value(e, 2)));
        }
    })?;
    Ok(all)
}

/// Whether a table exists.
pub fn table_exists(socket: &Socket, family: Family, table: &str) -> Result<bool, Error> {
    let mut w = Writer::new();
    let head = [family.number(), 0, 0, 0];
    w.message("get table", request(GETTABLE), ACK, &head, |w| w.attr_str(1, table));
    match socket.dump(&w, |_| {}) {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}
