//! `rkinspect log dump`: one line per transaction.

use std::path::PathBuf;

use clap::Args;
use ringkeeper_engine::id::{SessionId, Zxid};
use serde_json::{Value, json};

use crate::cli::{parse_session, parse_zxid};
use crate::error::{FINE, InspectError};
use crate::out::{Out, Progress};
use crate::show::{self, Data};
use crate::source::{self, Decoded, TxnAt};

/// Which transactions, and how.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Data directories or log files.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// First zxid, as 0x... or decimal.
    #[arg(long, value_parser = parse_zxid)]
    pub from: Option<Zxid>,
    /// Last zxid.
    #[arg(long, value_parser = parse_zxid)]
    pub to: Option<Zxid>,
    /// Only what touches this path or something below it, also as a part of a multi.
    #[arg(long)]
    pub path: Option<String>,
    /// Only of this session, as 0x... or decimal.
    #[arg(long, value_parser = parse_session)]
    pub session: Option<SessionId>,
    /// Only of these types: create, setData, multi, closeSession, ...
    #[arg(long = "type", value_parser = show::kind_named, value_delimiter = ',')]
    pub kinds: Vec<i32>,
    /// Shows data too, as text with escapes or in hexadecimal.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub data: Option<Data>,
}

impl DumpArgs {
    fn wants(&self, decoded: &Decoded<'_>) -> bool {
        let header = &decoded.header;
        if self.session.is_some_and(|session| session != header.client_id)
            || !(self.kinds.is_empty() || self.kinds.contains(&header.kind))
        {
            return false;
        }
        let Some(top) = &self.path else { return true };
        let mut touched = false;
        show::each_path(&decoded.txn, &mut |path| touched |= show::is_within(path, top));
        touched
    }
}

/// Shows them.
pub fn dump(args: &DumpArgs, out: &mut Out<'_>, progress: &Progress) -> Result<u8, InspectError> {
    let from = args.from.unwrap_or(Zxid::from_raw(i64::MIN));
    let upto = args.to.unwrap_or(Zxid::from_raw(i64::MAX));
    for path in &args.paths {
        source::open(path, progress)?.txns(from, upto, &mut |txn| {
            let decoded = txn.decode()?;
            if args.wants(&decoded) {
                out.line(|| text(txn, &decoded, args.data), || object(txn, &decoded, args.data))?;
            }
            Ok(())
        })?;
    }
    Ok(FINE)
}

fn text(txn: &TxnAt<'_>, decoded: &Decoded<'_>, data: Option<Data>) -> String {
    let Decoded { header, txn: record, digest } = decoded;
    let digest = digest.map_or_else(|| "none".to_owned(), |digest| format!("{:#x}", digest.tree));
    format!(
        "{} {} session {:#x} cxid {} {}, {} bytes, digest {digest}",
        txn.zxid,
        show::time(header.time),
        header.client_id.0,
        header.cxid,
        show::what(header.kind, record, data),
        txn.payload.len(),
    )
}

fn object(txn: &TxnAt<'_>, decoded: &Decoded<'_>, data: Option<Data>) -> Value {
    let Decoded { header, txn: record, digest } = decoded;
    let mut object = show::what_json(header.kind, record, data);
    object["zxid"] = json!(txn.zxid.to_string());
    object["time"] = json!(show::time(header.time));
    object["session"] = json!(format!("{:#x}", header.client_id.0));
    object["cxid"] = json!(header.cxid);
    object["bytes"] = json!(txn.payload.len());
    object["digest"] = json!(digest.map(|digest| format!("{:#x}", digest.tree)));
    object["file"] = json!(txn.file);
    object["offset"] = json!(txn.offset);
    object
}
