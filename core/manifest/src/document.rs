//! What a document describes.

use std::fmt;

use serde_json::Value;
use skerry_types::{SiteSpec, TenantSpec, WorkloadSpec};

use crate::write;

/// What a document describes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a file has few documents, nearly all of them workloads")]
pub enum Document {
    /// Something to run.
    Workload(WorkloadSpec),
    /// Who shares the federation.
    Tenant(TenantSpec),
    /// Where nodes are.
    Site(SiteSpec),
}

impl Document {
    /// Which kind it is of.
    pub fn kind(&self) -> DocumentKind {
        match self {
            Self::Workload(_) => DocumentKind::Workload,
            Self::Tenant(_) => DocumentKind::Tenant,
            Self::Site(_) => DocumentKind::Site,
        }
    }

    /// What it is called; for a workload with its tenant, unless that is the default one.
    pub fn name(&self) -> String {
        match self {
            Self::Workload(spec) => spec.key.to_string(),
            Self::Tenant(spec) => spec.name.to_string(),
            Self::Site(spec) => spec.name.to_string(),
        }
    }

    /// The manifest as JSON, with every default written out.
    pub fn to_manifest(&self) -> Value {
        match self {
            Self::Workload(spec) => write::to_manifest(spec),
            Self::Tenant(spec) => write::tenant_to_manifest(spec),
            Self::Site(spec) => write::site_to_manifest(spec),
        }
    }

    /// The manifest as YAML, with every default written out.
    pub fn to_yaml(&self) -> String {
        match self {
            Self::Workload(spec) => write::to_yaml(spec),
            Self::Tenant(spec) => write::tenant_to_yaml(spec),
            Self::Site(spec) => write::site_to_yaml(spec),
        }
    }
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentKind {
    /// Something to run.
    Workload,
    /// Who shares the federation.
    Tenant,
    /// Where nodes are.
    Site,
}

impl DocumentKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Workload, Self::Tenant, Self::Site];

    /// What a document's `kind` says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workload => "Workload",
            Self::Tenant => "Tenant",
            Self::Site => "Site",
        }
    }
}

impl fmt::Display for DocumentKind {
    /// The word in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Workload => "workload",
            Self::Tenant => "tenant",
            Self::Site => "site",
        })
    }
}
