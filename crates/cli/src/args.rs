//! The flags of every command, named as kubectl names them. Not here: what they do.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// `isopod kubectl`.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl",
    about = "Control the cluster, as kubectl does",
    disable_version_flag = true
)]
pub struct Args {
    /// Flags of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of all commands.
#[derive(Debug, ClapArgs)]
pub struct Global {
    /// The kubeconfig to use; $KUBECONFIG, ~/.kube/config or isopod's own otherwise.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The namespace; the context's own, else `default`.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    /// Show resources
    Get(Get),
    /// Make the cluster hold what files say
    Apply(Apply),
    /// Create resources from files or flags
    Create(Create),
    /// Delete resources
    Delete(Delete),
    /// Show a resource in detail, with its events
    Describe(Describe),
    /// Print a container's log
    Logs(Logs),
    /// Run a command in a container
    Exec(Exec),
    /// Set the number of replicas
    Scale(Scale),
    /// Follow or manage the rollout of a workload
    Rollout(Rollout),
    /// Wait until objects have a condition or are gone
    Wait(Wait),
    /// Forward local ports to a pod
    PortForward(PortForward),
    /// Attach to a running container
    Attach(Attach),
    /// Change fields of objects
    Patch(Patch),
    /// Set or remove labels
    Label(Label),
    /// Set or remove annotations
    Annotate(Label),
    /// Set a feature of objects
    Set(Set),
    /// Let no more pods onto nodes
    Cordon { nodes: Vec<String> },
    /// Let pods onto nodes again
    Uncordon { nodes: Vec<String> },
    /// Empty a node of its pods
    Drain(Drain),
    /// Make a service for a workload
    Expose(Expose),
    /// Run a pod
    Run(Run),
    /// Show what is used (needs a metrics server)
    Top { what: Vec<String> },
}

/// Files that hold objects.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Files {
    /// A file, a folder, or `-` for standard input; may be repeated.
    #[arg(short = 'f', long = "filename", value_delimiter = ',')]
    pub filename: Vec<String>,
    /// Go into sub-folders.
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// `get`.
#[derive(Debug, ClapArgs)]
pub struct Get {
    /// `TYPE[,TYPE…] [NAME…]` or `TYPE/NAME …`.
    pub what: Vec<String>,
    /// A path of the server, whose answer is printed as it comes.
    #[arg(long, conflicts_with_all = ["what", "filename", "output", "watch"])]
    pub raw: Option<String>,
    /// Objects that files name.
    #[command(flatten)]
    pub files: Files,
    /// wide, yaml, json, name, jsonpath=TEMPLATE, jsonpath-file=FILE.
    #[arg(short, long, default_value = "")]
    pub output: String,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
    /// Field selector.
    #[arg(long, default_value = "")]
    pub field_selector: String,
    /// Go on and print changes.
    #[arg(short, long)]
    pub watch: bool,
    /// Print changes only, not what is there.
    #[arg(long)]
    pub watch_only: bool,
    /// Leave the header out.
    #[arg(long)]
    pub no_headers: bool,
    /// Add a column with all labels.
    #[arg(long)]
    pub show_labels: bool,
    /// Add columns with these labels.
    #[arg(short = 'L', long, value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Keep metadata.managedFields in yaml and json.
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Say nothing and succeed where a name is not found.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Sort by a JSONPath.
    #[arg(long, default_value = "")]
    pub sort_by: String,
    /// Objects a request; 0 for all at once.
    #[arg(long, default_value_t = 500)]
    pub chunk_size: u32,
}

/// `apply`.
#[derive(Debug, ClapArgs)]
pub struct Apply {
    /// What to apply.
    #[command(flatten)]
    pub files: Files,
    /// Let the server merge (server-side apply).
    #[arg(long)]
    pub server_side: bool,
    /// Take fields from other managers; with --server-side.
    #[arg(long)]
    pub force_conflicts: bool,
    /// The field manager.
    #[arg(long, default_value = "")]
    pub field_manager: String,
    /// none, client or server.
    #[arg(long, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: String,
    /// strict, warn or ignore; true and false as kubectl.
    #[arg(long, default_value = "strict", num_args = 0..=1, default_missing_value = "strict")]
    pub validate: String,
    /// name, yaml or json.
    #[arg(short, long, default_value = "")]
    pub output: String,
}

/// `create`.
#[derive(Debug, ClapArgs)]
pub struct Create {
    /// What to create, from files.
    #[command(flatten)]
    pub files: Files,
    /// none, client or server.
    #[arg(long, global = true, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: String,
    /// strict, warn or ignore.
    #[arg(long, global = true, default_value = "strict", num_args = 0..=1, default_missing_value = "strict")]
    pub validate: String,
    /// name, yaml or json.
    #[arg(short, long, global = true, default_value = "")]
    pub output: String,
    /// What to create, from flags.
    #[command(subcommand)]
    pub kind: Option<CreateKind>,
}

/// `create KIND`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum CreateKind {
    /// A namespace
    #[command(alias = "ns")]
    Namespace { name: String },
    /// A service account
    #[command(alias = "sa")]
    Serviceaccount { name: String },
    /// A deployment of one image
    #[command(alias = "deploy")]
    Deployment {
        name: String,
        #[arg(long, required = true)]
        image: Vec<String>,
        #[arg(short, long, default_value_t = 1)]
        replicas: u32,
        #[arg(long)]
        port: Option<u16>,
        /// The command, after `--`.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// A config map of literals and files
    #[command(alias = "cm")]
    Configmap {
        name: String,
        #[arg(long)]
        from_literal: Vec<String>,
        #[arg(long)]
        from_file: Vec<String>,
    },
    /// A secret of literals and files: `create secret generic NAME`
    Secret {
        /// generic, or tls.
        kind: String,
        name: String,
        #[arg(long)]
        from_literal: Vec<String>,
        #[arg(long)]
        from_file: Vec<String>,
        #[arg(long, default_value = "")]
        r#type: String,
        #[arg(long)]
        cert: Option<PathBuf>,
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// A service: `create service clusterip|nodeport NAME --tcp=PORT[:TARGET]`
    #[command(alias = "svc")]
    Service {
        /// clusterip, nodeport or loadbalancer.
        kind: String,
        name: String,
        #[arg(long, required = true, value_delimiter = ',')]
        tcp: Vec<String>,
    },
    /// A token for a service account, printed
    Token {
        name: String,
        #[arg(long, default_value = "")]
        duration: String,
        #[arg(long)]
        audience: Vec<String>,
    },
}

/// `delete`.
#[derive(Debug, ClapArgs)]
pub struct Delete {
    /// `TYPE NAME …`, `TYPE/NAME …`, or `TYPE` with --all or a selector.
    pub what: Vec<String>,
    /// Objects that files name.
    #[command(flatten)]
    pub files: Files,
    /// Label selector.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
    /// Field selector.
    #[arg(long, default_value = "")]
    pub field_selector: String,
    /// Everything of the type.
    #[arg(long)]
    pub all: bool,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// background, orphan or foreground.
    #[arg(long, default_value = "background")]
    pub cascade: String,
    /// Seconds to end gracefully; the object's own where negative.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Do not wait for the pod's end; with --grace-period=0.
    #[arg(long)]
    pub force: bool,
    /// The same as --grace-period=1.
    #[arg(long)]
    pub now: bool,
    /// A missing object is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Return only when the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub wait: bool,
    /// How long to wait, as in 30s; 0 for as long as it takes.
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// name for short output.
    #[arg(short, long, default_value = "")]
    pub output: String,
}

/// `describe`.
#[derive(Debug, ClapArgs)]
pub struct Describe {
    /// `TYPE [NAME…]` or `TYPE/NAME`.
    pub what: Vec<String>,
    /// Label selector.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// `logs`.
#[derive(Debug, ClapArgs)]
#[allow(clippy::struct_excessive_bools)]
pub struct Logs {
    /// `POD`, `pod/POD` or `TYPE/NAME` (its first pod).
    pub what: Option<String>,
    /// The container, where the pod has several.
    pub container_name: Option<String>,
    /// The container.
    #[arg(short, long)]
    pub container: Option<String>,
    /// All containers, one after the other.
    #[arg(long)]
    pub all_containers: bool,
    /// Go on printing.
    #[arg(short, long)]
    pub follow: bool,
    /// Of the run before the last restart.
    #[arg(short, long)]
    pub previous: bool,
    /// Lines from the end; all where negative (10 with a selector).
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only newer than this, as in 5m.
    #[arg(long, default_value = "")]
    pub since: String,
    /// Only after this time (RFC 3339).
    #[arg(long, default_value = "")]
    pub since_time: String,
    /// Print each line's time.
    #[arg(long)]
    pub timestamps: bool,
    /// Bytes at most.
    #[arg(long, default_value_t = 0)]
    pub limit_bytes: i64,
    /// Of all pods with these labels.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
    /// Say which pod and container a line is from.
    #[arg(long)]
    pub prefix: bool,
}

/// A container whose streams are connected.
#[derive(Debug, ClapArgs)]
pub struct Streams {
    /// `POD` or `TYPE/NAME` (its first pod).
    pub what: String,
    /// The container, where the pod has several.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal.
    #[arg(short = 't', long)]
    pub tty: bool,
}

/// `exec`.
#[derive(Debug, ClapArgs)]
pub struct Exec {
    /// Which container, and which of its streams.
    #[command(flatten)]
    pub streams: Streams,
    /// The command, after `--`.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// `scale`.
#[derive(Debug, ClapArgs)]
pub struct Scale {
    /// `TYPE NAME` or `TYPE/NAME …`.
    pub what: Vec<String>,
    /// The new number.
    #[arg(long)]
    pub replicas: u32,
    /// Only where this is the number now.
    #[arg(long)]
    pub current_replicas: Option<i64>,
}

/// `rollout`.
#[derive(Debug, ClapArgs)]
pub struct Rollout {
    /// What to do.
    #[command(subcommand)]
    pub action: RolloutAction,
}

/// `rollout ACTION`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum RolloutAction {
    /// Follow a rollout to its end
    Status {
        what: Vec<String>,
        /// Return only when it is done.
        #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        watch: bool,
        /// How long to wait, as in 30s; 0 for as long as it takes.
        #[arg(long, default_value = "0s")]
        timeout: String,
    },
    /// Replace all pods, one after the other
    Restart { what: Vec<String> },
    /// List the revisions of a deployment
    History { what: Vec<String> },
    /// Go back to an older revision of a deployment
    Undo {
        what: Vec<String>,
        /// The revision; the last but one where 0.
        #[arg(long, default_value_t = 0)]
        to_revision: u64,
    },
    /// Let changes of a deployment wait
    Pause { what: Vec<String> },
    /// Roll a paused deployment out again
    Resume { what: Vec<String> },
}

/// `wait`.
#[derive(Debug, ClapArgs)]
pub struct Wait {
    /// `TYPE NAME …` or `TYPE/NAME …`.
    pub what: Vec<String>,
    /// delete, create, condition=NAME[=STATUS], jsonpath={PATH}[=VALUE].
    #[arg(long)]
    pub r#for: String,
    /// How long, as in 30s.
    #[arg(long, default_value = "30s")]
    pub timeout: String,
    /// Everything of the type.
    #[arg(long)]
    pub all: bool,
    /// Label selector.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
}

/// `port-forward`.
#[derive(Debug, ClapArgs)]
pub struct PortForward {
    /// `POD` or `TYPE/NAME`.
    pub what: String,
    /// `PORT`, `LOCAL:REMOTE`, `:REMOTE`.
    #[arg(required = true)]
    pub ports: Vec<String>,
    /// Addresses to listen on.
    #[arg(long, value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<String>,
}

/// `attach`.
#[derive(Debug, ClapArgs)]
pub struct Attach {
    /// Which container, and which of its streams.
    #[command(flatten)]
    pub streams: Streams,
}

/// `patch`.
#[derive(Debug, ClapArgs)]
pub struct Patch {
    /// `TYPE NAME` or `TYPE/NAME`.
    pub what: Vec<String>,
    /// The patch, as JSON or YAML.
    #[arg(short, long)]
    pub patch: String,
    /// strategic, merge or json.
    #[arg(long, default_value = "strategic")]
    pub r#type: String,
}

/// `label` and `annotate`.
#[derive(Debug, ClapArgs)]
pub struct Label {
    /// `TYPE NAME` or `TYPE/NAME`, then `KEY=VALUE` or `KEY-`.
    pub what: Vec<String>,
    /// Change values that are there.
    #[arg(long)]
    pub overwrite: bool,
    /// Everything of the type.
    #[arg(long)]
    pub all: bool,
    /// Label selector.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
}

/// `set`.
#[derive(Debug, ClapArgs)]
pub struct Set {
    /// What to set.
    #[command(subcommand)]
    pub what: SetWhat,
}

/// `set WHAT`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum SetWhat {
    /// Images of containers
    Image(SetImage),
}

/// `set image`.
#[derive(Debug, ClapArgs)]
pub struct SetImage {
    /// `TYPE NAME` or `TYPE/NAME`, then `CONTAINER=IMAGE` (`*` is every container).
    pub what: Vec<String>,
}

/// `drain`.
#[derive(Debug, Default, ClapArgs)]
#[allow(clippy::struct_excessive_bools)]
pub struct Drain {
    /// The node.
    pub node: String,
    /// Evict pods that nothing replaces, too.
    #[arg(long)]
    pub force: bool,
    /// Leave pods of daemon sets.
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Evict pods whose emptyDir volumes are lost, too.
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Seconds to end gracefully; the pod's own where negative.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Only pods with these labels.
    #[arg(long, default_value = "")]
    pub pod_selector: String,
    /// How long, as in 30s; 0 for as long as it takes.
    #[arg(long, default_value = "0s")]
    pub timeout: String,
}

/// `expose`.
#[derive(Debug, ClapArgs)]
pub struct Expose {
    /// `TYPE NAME` or `TYPE/NAME`.
    pub what: Vec<String>,
    /// The service's port; those that the containers name where not given.
    #[arg(long)]
    pub port: Option<u16>,
    /// The pods' port, a number or a name; the same where not given.
    #[arg(long)]
    pub target_port: Option<String>,
    /// The service's name; the workload's where not given.
    #[arg(long)]
    pub name: Option<String>,
    /// ClusterIP, NodePort or LoadBalancer.
    #[arg(long, default_value = "ClusterIP")]
    pub r#type: String,
    /// TCP, UDP or SCTP.
    #[arg(long, default_value = "TCP")]
    pub protocol: String,
}

/// `run`.
#[derive(Debug, ClapArgs)]
pub struct Run {
    /// The pod's name.
    pub name: String,
    /// Its image.
    #[arg(long)]
    pub image: String,
    /// Always, OnFailure or Never.
    #[arg(long, default_value = "Always")]
    pub restart: String,
    /// `NAME=VALUE`; may be repeated.
    #[arg(long)]
    pub env: Vec<String>,
    /// `KEY=VALUE,…`; `run=NAME` where not given.
    #[arg(short, long, value_delimiter = ',')]
    pub labels: Vec<String>,
    /// A port it listens on.
    #[arg(long)]
    pub port: Option<u16>,
    /// The words after `--` are the command, not its arguments.
    #[arg(long)]
    pub command: bool,
    /// Arguments, after `--`.
    #[arg(last = true)]
    pub args: Vec<String>,
}
