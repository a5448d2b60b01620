//! What can be asked, and how.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Asks what quality-officer found, why, and what it did.
///
/// Start with `kubectl quality report`; `explain POLICY` says how sure the verdict is and what it takes to act.
#[derive(Parser)]
#[command(
    name = "kubectl-quality",
    bin_name = "kubectl quality",
    version,
    after_help = "Examples:\n  \
        kubectl quality report -A                 # every policy: verdict, SLOs, findings\n  \
        kubectl quality explain ranker -n shop    # why, how sure, and what it takes to act\n  \
        kubectl quality incidents -n shop         # what broke and what was done\n  \
        kubectl quality rollback ranker -n shop --reason 'wrong prices for EU shops'"
)]
pub struct Arguments {
    /// Which cluster and namespace.
    #[command(flatten)]
    pub connection: Connection,
    /// What is asked.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The whole command line, for completion and for its page in the documentation.
    pub fn definition() -> clap::Command {
        Self::command()
    }
}

/// Which cluster and namespace: the flags that `kubectl` has.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// The namespace; that of the kubeconfig when it is not given.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// All namespaces, for what lists.
    #[arg(short = 'A', long, global = true)]
    pub all_namespaces: bool,
    /// A context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// A kubeconfig file; KUBECONFIG or ~/.kube/config when it is not given.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// What is asked.
#[derive(Subcommand)]
pub enum Command {
    /// The report of a policy, or of every policy.
    #[command(after_help = "Examples:\n  \
        kubectl quality report ranker                        # verdict, SLOs, findings\n  \
        kubectl quality report ranker -o markdown            # the strict report, thirteen sections\n  \
        kubectl quality report ranker -o html > ranker.html  # one page with charts\n  \
        kubectl quality report ranker --at list              # its snapshots: one a review, one an incident\n  \
        kubectl quality report ranker --at ranker-20261124-0000")]
    Report {
        /// The policy.
        policy: Option<String>,
        /// A snapshot of the report in place of the living one; `list` shows which there are.
        #[arg(long, value_name = "SNAPSHOT|list", requires = "policy")]
        at: Option<String>,
        /// How it is printed: `markdown` is the strict report, `html` one page with charts, of one policy.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Every incident, newest first.
    #[command(after_help = "Examples:\n  \
        kubectl quality incidents -A\n  \
        kubectl quality incidents ranker -o json    # of one policy")]
    Incidents {
        /// Only those of this policy.
        policy: Option<String>,
        /// How they are printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Listing,
    },
    /// The postmortem of a rollback, Markdown.
    #[command(after_help = "Examples:\n  kubectl quality postmortem ranker-7f3c9 > postmortem.md")]
    Postmortem {
        /// The incident.
        incident: String,
    },
    /// Why a policy's verdict is what it is, how sure that is, and what it takes to act.
    #[command(
        after_help = "Evidence is a ratio: 88,000 : 1 says that such counts are 88,000 times as likely from a \
        release that\nmisses its limit as from one that keeps it. The operator acts at the ratio that at most \
        `falseRollbackRate` of\nhealthy releases ever reach within `per`.\n\n\
        Examples:\n  kubectl quality explain ranker"
    )]
    Explain {
        /// The policy.
        policy: String,
    },
    /// The checkpoints, and for each whether it is a valid rollback target or why not.
    #[command(after_help = "Examples:\n  kubectl quality checkpoints -A")]
    Checkpoints {
        /// How they are printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Listing,
    },
    /// Roll back now: a person's word in place of evidence.
    ///
    /// The operator takes the request up and records it as an incident. The checkpoint is verified as always, the change
    /// is fenced as always, and within the cooldown it waits for `approve`. A request stands for 10 minutes.
    #[command(after_help = "Examples:\n  \
        kubectl quality rollback ranker --reason 'wrong prices for EU shops'\n  \
        kubectl quality rollback ranker --to ranker-20261123-1 --reason 'the release before is affected too'")]
    Rollback {
        /// The policy of the Deployment.
        policy: String,
        /// The checkpoint; the newest one that does not run now when none is named.
        #[arg(long, value_name = "CHECKPOINT")]
        to: Option<String>,
        /// Why, in one line of at most 300 characters: it stands in the incident, the report and the postmortem.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long to wait for the operator's answer, seconds; 0 does not wait.
        #[arg(long, value_name = "SECONDS", default_value = "60")]
        wait: u64,
    },
    /// Start a drill: a rehearsal of the rollback on a shadow of the Deployment.
    #[command(
        after_help = "Examples:\n  kubectl quality drill ranker\n  kubectl quality drill ranker --in-place -n staging"
    )]
    Drill {
        /// The policy.
        policy: String,
        /// On the Deployment itself: for staging namespaces.
        #[arg(long)]
        in_place: bool,
    },
    /// Let a prepared or halted rollback go ahead.
    #[command(after_help = "Examples:\n  kubectl quality approve ranker-7f3c9")]
    Approve {
        /// The incident.
        incident: String,
    },
    /// Release an image from quarantine: what was rolled back may be shipped again.
    #[command(after_help = "Examples:\n  kubectl quality release ranker --image sha256:9be1f3…")]
    Release {
        /// The policy.
        policy: String,
        /// The image as the pod template named it, its digest, or the beginning of that.
        #[arg(long)]
        image: String,
    },
    /// Judge nothing and act on nothing until it is resumed.
    #[command(after_help = "Examples:\n  kubectl quality pause ranker")]
    Pause {
        /// The policy.
        policy: String,
    },
    /// Judge again, from now on.
    #[command(after_help = "Examples:\n  kubectl quality resume ranker")]
    Resume {
        /// The policy.
        policy: String,
    },
    /// Write what is on record in the namespace into a folder.
    ///
    /// The files are `rollback_log.json`, `postmortem_report.md`, `recovery_test.json`, `weekly_validation.log` and
    /// `checkpoint_registry.yaml`.
    #[command(after_help = "Examples:\n  kubectl quality export audit-2026-11 -n shop")]
    Export {
        /// The folder; it is made when it is not there.
        folder: PathBuf,
    },
    /// Create the checkpoints of a `checkpoint_registry.yaml`: all of them, or none.
    #[command(after_help = "Examples:\n  \
        kubectl quality import -f checkpoint_registry.yaml --dry-run    # check all of it, write nothing\n  \
        kubectl quality import -f - < checkpoint_registry.yaml")]
    Import {
        /// The file; `-` for standard input.
        #[arg(short = 'f', long = "filename", value_name = "FILE")]
        file: PathBuf,
        /// Check all of it, by the API server too, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the completion script of a shell.
    #[command(after_help = "Examples:\n  \
        source <(kubectl-quality completion bash)      # for `kubectl-quality`\n  \
        kubectl quality completion kubectl > /usr/local/bin/kubectl_complete-quality\n  \
        chmod +x /usr/local/bin/kubectl_complete-quality   # for `kubectl quality`, names of the cluster included")]
    Completion {
        /// The shell; `kubectl` is the script that kubectl's own completion looks for on the PATH.
        shell: CompletionFor,
    },
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For a terminal.
    Text,
    /// The strict report.
    Markdown,
    /// One page with charts, of one policy.
    Html,
    /// The object.
    Json,
    /// The object.
    Yaml,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// For a terminal.
    Text,
    /// The objects.
    Json,
    /// The objects.
    Yaml,
    /// Their names, one a line.
    Name,
}

/// Who completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionFor {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// kubectl's completion of plugins.
    Kubectl,
}
