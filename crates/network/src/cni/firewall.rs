//! Other programs' firewalls that drop what is forwarded, Docker's above all: pods are let through.
//!
//! An `accept` of ours does not help against another table's `drop`, so a rule has to stand in that
//! table. Only the chain `FORWARD` of iptables' own table `filter` is touched, the one that Docker
//! sets to drop and where such rules are usual; any other chain that drops is the administrator's,
//! and is only named in a warning. Not here: our own tables.

use crate::cidr::Cidr;
use crate::netlink::nft::{self, Batch, Family, Hook, Op, Reg, Rule, Verdict};
use crate::netlink::route::octets;
use crate::netlink::{Error, Socket};

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
const COMMENT: &str = "isopod pods";

/// Lets packets from and to pods pass. May be repeated.
pub fn let_pods_pass(socket: &Socket, cidr: Cidr) -> Result<(), Error> {
    let family = Family::of(cidr.ip());
    for chain in nft::chains(socket, family, Hook::Forward)?.into_iter().filter(|c| c.drops) {
        if (chain.table.as_str(), chain.name.as_str()) != (TABLE, CHAIN) {
            tracing::warn!(
                "chain {} of nftables table {} drops what is forwarded; pods need {cidr} let through",
                chain.name,
                chain.table
            );
            continue;
        }
        if !nft::rules_with_comment(socket, family, (TABLE, CHAIN), COMMENT)?.is_empty() {
            continue;
        }
        let network = octets(cidr.ip());
        let pass = |rule: Rule| {
            rule.in_network(Reg(0), Op::Eq, &network, cidr.prefix())
                .counter()
                .verdict(&Verdict::Accept)
        };
        let mut batch = Batch::new(family, TABLE);
        batch.insert_rule(CHAIN, &pass(Rule::new().load_saddr(family, Reg(0))), COMMENT);
        batch.insert_rule(CHAIN, &pass(Rule::new().load_daddr(family, Reg(0))), COMMENT);
        batch.commit(socket)?;
    }
    Ok(())
}

/// Takes our rules out of it again; `false` where there were none.
pub fn forget_pods(socket: &Socket, family: Family) -> Result<bool, Error> {
    if !nft::table_exists(socket, family, TABLE)? {
        return Ok(false);
    }
    let handles = nft::rules_with_comment(socket, family, (TABLE, CHAIN), COMMENT)?;
    let mut batch = Batch::new(family, TABLE);
    for handle in &handles {
        batch.delete_rule(CHAIN, *handle);
    }
    batch.commit(socket)?;
    Ok(!handles.is_empty())
}
