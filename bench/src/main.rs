//! Benchmarks: start-up, memory, throughput and pod start latency, printed against the budgets.
//!
//! Starts the program under test itself, on free ports, in a directory of its own. With the paths of
//! upstream binaries the same load runs against them and ratios are printed. Not here: assertions;
//! a benchmark tells, a test judges.

mod api_rows;
mod load;
mod many_definitions;
mod many_objects;
mod node_rows;
mod report;
mod subject;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::report::Report;
use crate::subject::{Subject, Upstream};

/// What to measure.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Args {
    /// The isopod binary (a release build).
    #[arg(long, default_value = "target/release/isopod")]
    isopod: PathBuf,
    /// Upstream's kube-apiserver, to print ratios; needs --etcd too.
    #[arg(long, requires = "etcd")]
    kube_apiserver: Option<PathBuf>,
    /// Upstream's etcd.
    #[arg(long, requires = "kube_apiserver")]
    etcd: Option<PathBuf>,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Pods to create in the throughput rows; of config maps 40 % as many.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Instead of the rows: load so many small config maps, list them in chunks, watch them, start
    /// again with them.
    #[arg(long)]
    objects: Option<usize>,
    /// Instead of the rows: make so many definitions of custom resources, look at what they cost, and
    /// create twenty objects of one of them for each.
    #[arg(long)]
    definitions: Option<usize>,
    /// The groups that they are spread over.
    #[arg(long, default_value_t = 50)]
    groups: usize,
    /// With the controllers and the scheduler in the server's process.
    #[arg(long)]
    controllers: bool,
    /// Leave out the rows that need root and containers.
    #[arg(long)]
    no_node: bool,
    /// An OCI archive with the image of the started pods, and the image's name.
    #[arg(long, num_args = 2, value_names = ["ARCHIVE", "NAME"])]
    image: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report::default();
        let isopod = Subject::Isopod(args.isopod.clone());
        if let Some(objects) = args.objects {
            return many_objects::run(objects, &isopod).await;
        }
        if let Some(count) = args.definitions {
            let cluster = Subject::Cluster(args.isopod.clone());
            let subject = if args.controllers { cluster } else { isopod };
            return many_definitions::run(count, args.groups, &subject).await;
        }
        api_rows::run(&args, &isopod, &mut report).await?;
        if let (Some(server), Some(etcd)) = (&args.kube_apiserver, &args.etcd) {
            let upstream =
                Subject::Upstream(Upstream { server: server.clone(), etcd: etcd.clone() });
            api_rows::run(&args, &upstream, &mut report).await?;
        }
        if !args.no_node {
            node_rows::run(&args, &mut report).await?;
        }
        print!("{}", report.table());
        Ok(())
    })
}
