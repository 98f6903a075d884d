//! Opening the store; what to do when it cannot be read, and when it was put back to an older copy.

use std::sync::Arc;

use anyhow::{Context, Result};
use skerry_link::LinkClock;
use skerry_region_state::{Action, Input, LedgerRow, LoadError, RegionConfig, RegionState};
use skerry_store::{SledStore, Store, StoreError};
use skerry_types::WallTime;
use skerry_wire::Incarnation;

use crate::ca::Ca;
use crate::clock::Clock;
use crate::settings::Settings;

/// Opens the store and makes a brain of what it holds.
pub(crate) async fn load(settings: &Settings, ca: &Ca, clock: &Clock) -> Result<(RegionState, SledStore)> {
    let dir = settings.store_dir();
    let loaded = tokio::task::spawn_blocking(move || {
        let mut store = SledStore::open(dir)?;
        let rows = store.rows()?;
        Ok::<_, StoreError>((store, rows))
    });
    let loaded = loaded.await.context("loading the store")?;
    let (store, rows) = loaded.map_err(|error| match error {
        StoreError::Damaged { .. } | StoreError::Io { .. } | StoreError::Engine { .. } => {
            anyhow::Error::new(error).context(way_out(settings))
        }
        error => error.into(),
    })?;
    let config = RegionConfig {
        region: ca.region().clone(),
        incarnation: Incarnation(rand::random_range(1..=u64::MAX)),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        has_parent: ca.parent().is_some(),
    };
    let count = rows.len();
    let rows: Vec<LedgerRow> = rows.into_iter().map(|row| (row.table, row.key, row.value)).collect();
    let state = RegionState::load(config, clock.now(), rows).map_err(|error| match error {
        LoadError::Table { .. } => anyhow::Error::new(error),
        error => anyhow::Error::new(error).context(way_out(settings)),
    })?;
    tracing::info!(region = %ca.region(), rows = count, "the store is loaded");
    Ok((state, store))
}

/// What somebody does at night whose master does not start.
fn way_out(settings: &Settings) -> String {
    let (data, store, ca) = (&settings.data_dir, settings.store_dir(), settings.ca_dir());
    let (data, store, ca) = (data.display(), store.display(), ca.display());
    format!(
        "the master does not start, as its store is not readable; nothing was changed, and nodes go on without it.\n\
         With a backup:    mv {data} {data}.broken && cp -a BACKUP {data}, then 'skerry-master restored', then start the master.\n\
         Without a backup: mv {store} {store}.broken, keep {ca}, start the master, and let every node join again by a token.\n\
         Either way what runs goes on: what the store does not know is shown as Orphaned until its manifest is applied again"
    )
}

/// Lets a store that was put back to an older copy begin another life, before its master starts. Gives the region's name.
///
/// # Errors
/// When there is no CA, or the store is in use, cannot be read, or its disk is full.
pub async fn restored(settings: &Settings) -> Result<String> {
    let ca = Ca::open(&settings.ca_dir())?;
    let clock = Clock::new(Arc::new(LinkClock::system(WallTime(0))));
    let (mut state, mut store) = load(settings, &ca, &clock).await?;
    state.handle(clock.now(), Input::Restored);
    let mut batches = Vec::new();
    while let Some(action) = state.poll_action() {
        if let Action::Persist(_, batch) = action {
            batches.push(batch);
        }
    }
    // Actions beside batches are for links and callers, of which there are none.
    tokio::task::spawn_blocking(move || batches.into_iter().try_for_each(|batch| store.commit(&[batch])))
        .await
        .context("writing the store")??;
    Ok(ca.region().to_string())
}
