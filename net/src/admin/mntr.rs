//! The word `mntr`: one `zk_<name>` TAB value per line.
//!
//! Names are those of ZooKeeper 3.9. Agents look keys up and complain about missing ones, so what this version
//! does not measure is there with the value 0.

use std::fmt::{self, Write};

use super::{
    metrics::Summary,
    text::{Decimal, version},
    view::{EnsembleView, NodeView, SnapshotView, TransferView},
};

/// Counters that nothing here moves.
const IDLE_COUNTERS: [&str; 39] = [
    "add_dead_watcher_stall_time",
    "cnxn_closed_without_zk_server_running",
    "commit_count",
    "dead_watchers_cleared",
    "dead_watchers_queued",
    "diff_count",
    "ensemble_auth_fail",
    "ensemble_auth_skip",
    "ensemble_auth_success",
    "insecure_admin_count",
    "learner_commit_received_count",
    "learner_proposal_received_count",
    "looking_count",
    "outstanding_changes_queued",
    "outstanding_changes_removed",
    "prep_processor_request_queued",
    "proposal_count",
    "quit_leading_due_to_disloyal_voter",
    "request_commit_queued",
    "request_throttle_wait_count",
    "requests_not_forwarded_to_commit_processor",
    "response_packet_cache_hits",
    "response_packet_cache_misses",
    "response_packet_get_children_cache_hits",
    "response_packet_get_children_cache_misses",
    "restore_error_count",
    "restore_rate_limited_count",
    "revalidate_count",
    "skip_learner_request_to_next_processor_count",
    "snap_count",
    "snapshot_rate_limited_count",
    "stale_replies",
    "stale_requests",
    "stale_requests_dropped",
    "sync_processor_request_queued",
    "throttled_ops",
    "tls_handshake_exceeded",
    "unrecoverable_error_count",
    "unsuccessful_handshake",
];

/// Summaries without quantiles that nothing here feeds.
const IDLE_BASIC: [&str; 32] = [
    "commit_commit_proc_req_queued",
    "commit_process_time",
    "concurrent_request_processing_in_commit_processor",
    "connection_token_deficit",
    "election_time",
    "follower_sync_time",
    "inflight_diff_count",
    "inflight_snap_count",
    "leader_unavailable_time",
    "learner_request_processor_queue_size",
    "netty_queued_buffer_capacity",
    "observer_sync_time",
    "pending_session_queue_size",
    "prep_process_time",
    "prep_processor_queue_size",
    "proposal_process_time",
    "read_commit_proc_issued",
    "read_commit_proc_req_queued",
    "reads_after_write_in_session_queue",
    "reads_issued_from_session_queue",
    "requests_in_session_queue",
    "restore_time",
    "session_queues_drained",
    "socket_closing_time",
    "startup_snap_load_time",
    "sync_process_time",
    "sync_processor_queue_size",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "unavailable_time",
    "write_batch_time_in_commit_processor",
    "write_commit_proc_issued",
    "write_commit_proc_req_queued",
];

/// Summaries with quantiles that nothing here feeds.
const IDLE_ADVANCED: [&str; 20] = [
    "close_session_prep_time",
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "jvm_pause_time_ms",
    "local_write_committed_time_ms",
    "om_commit_process_time_ms",
    "om_proposal_process_time_ms",
    "prep_processor_queue_time_ms",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "quorum_ack_latency",
    "read_commitproc_time_ms",
    "read_final_proc_time_ms",
    "request_throttle_queue_time_ms",
    "server_write_committed_time_ms",
    "sync_processor_queue_and_flush_time_ms",
    "sync_processor_queue_flush_time_ms",
    "sync_processor_queue_time_ms",
    "write_commitproc_time_ms",
    "write_final_proc_time_ms",
];

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// Writes the whole answer.
pub(super) fn write(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    line(out, "", "version", version())?;
    line(out, "", "server_state", view.mode.name())?;
    if let Some(ensemble) = &view.ensemble {
        line(out, "", "peer_state", &ensemble.peer_state)?;
        members(ensemble, out)?;
    }
    gauges(view, out)?;
    snapshots(&view.snapshots, out)?;
    for (name, value) in view.metrics.counters() {
        line(out, "", name, value)?;
    }
    let synchronisations = view.ensemble.as_ref().map(|e| e.synchronisations).unwrap_or_default();
    for name in IDLE_COUNTERS.into_iter().filter(|name| !synchronisations.iter().any(|(it, _)| it == name)) {
        line(out, "", name, 0)?;
    }
    for (name, summary) in view.metrics.summaries() {
        observed(name, summary, out)?;
    }
    for name in IDLE_BASIC {
        idle(name, false, out)?;
    }
    for name in IDLE_ADVANCED {
        idle(name, true, out)?;
    }
    Ok(())
}

fn line(out: &mut String, statistic: &str, name: &str, value: impl fmt::Display) -> fmt::Result {
    let joint = if statistic.is_empty() { "" } else { "_" };
    writeln!(out, "zk_{statistic}{joint}{name}\t{value}")
}

fn gauges(view: &NodeView<'_>, out: &mut String) -> fmt::Result {
    let latency = view.metrics.request_latency();
    let (open, most) = view.descriptors;
    let sizes = view.response_sizes.map(|sizes| sizes.map(|size| size.to_string()));
    let [last, min, max] = sizes.unwrap_or_else(|| ["-1"; 3].map(str::to_owned));
    line(out, "", "avg_latency", Decimal(latency.average_e4()))?;
    line(out, "", "max_latency", latency.max())?;
    line(out, "", "min_latency", latency.min())?;
    line(out, "", "packets_received", view.packets_received)?;
    line(out, "", "packets_sent", view.packets_sent)?;
    line(out, "", "num_alive_connections", view.connection_count)?;
    line(out, "", "outstanding_requests", view.outstanding)?;
    line(out, "", "uptime", view.uptime_ms)?;
    line(out, "", "znode_count", view.node_count)?;
    line(out, "", "watch_count", view.watches)?;
    line(out, "", "ephemerals_count", view.ephemerals)?;
    line(out, "", "approximate_data_size", view.data_size)?;
    line(out, "", "global_sessions", view.sessions)?;
    line(out, "", "local_sessions", 0)?;
    line(out, "", "open_file_descriptor_count", open)?;
    line(out, "", "max_file_descriptor_count", most)?;
    line(out, "", "connection_drop_probability", Decimal(0))?;
    line(out, "", "last_client_response_size", last)?;
    line(out, "", "min_client_response_size", min)?;
    line(out, "", "max_client_response_size", max)?;
    line(out, "", "outstanding_tls_handshake", 0)?;
    line(out, "", "auth_failed_count", view.auth_failures)?;
    line(out, "", "non_mtls_remote_conn_count", 0)?;
    line(out, "", "non_mtls_local_conn_count", 0)
}

/// Own names: the reference has none for what its snapshots hold and how far they are.
fn snapshots(view: &SnapshotView, out: &mut String) -> fmt::Result {
    let (done, of) = view.making.unwrap_or_default();
    line(out, "", "snapshot_zxid", view.zxid)?;
    line(out, "", "snapshot_bytes", view.bytes)?;
    line(out, "", "snapshot_log_bytes", view.log_bytes)?;
    line(out, "", "snapshot_making", u8::from(view.making.is_some()))?;
    line(out, "", "snapshot_making_bytes", of)?;
    line(out, "", "snapshot_making_bytes_done", done)
}

/// Snapshots on their way between members.
fn transfers(view: &TransferView, out: &mut String) -> fmt::Result {
    line(out, "", "snap_sending", view.sending.len())?;
    for (learner, done, of) in &view.sending {
        line(out, "", &format!("snap_sending_{learner}_bytes"), of)?;
        line(out, "", &format!("snap_sending_{learner}_bytes_done"), done)?;
    }
    line(out, "", "snap_receiving", u8::from(view.receiving.is_some()))?;
    line(out, "", "snap_receiving_bytes_done", view.receiving.unwrap_or(0))
}

fn members(ensemble: &EnsembleView, out: &mut String) -> fmt::Result {
    line(out, "", "quorum_size", ensemble.quorum_size)?;
    for (name, count) in ensemble.synchronisations {
        line(out, "", name, count)?;
    }
    transfers(&ensemble.transfers, out)?;
    let Some(leading) = &ensemble.leading else { return Ok(()) };
    line(out, "", "learners", leading.learners)?;
    // The name that dashboards of older versions ask for.
    line(out, "", "followers", leading.learners)?;
    line(out, "", "synced_followers", leading.synced_followers)?;
    line(out, "", "synced_non_voting_followers", leading.synced_non_voting_followers)?;
    line(out, "", "synced_observers", leading.synced_observers)?;
    line(out, "", "pending_syncs", leading.pending_syncs)?;
    line(out, "", "leader_uptime", leading.uptime_ms)?;
    let [last, min, max] = leading.sizes();
    line(out, "", "last_proposal_size", last)?;
    line(out, "", "min_proposal_size", min)?;
    line(out, "", "max_proposal_size", max)
}

fn observed(name: &str, summary: &Summary, out: &mut String) -> fmt::Result {
    line(out, "avg", name, Decimal(summary.average_e4()))?;
    line(out, "min", name, summary.min())?;
    line(out, "max", name, summary.max())?;
    line(out, "cnt", name, summary.count())?;
    line(out, "sum", name, summary.sum())?;
    for (statistic, quantile) in QUANTILES {
        if let Some(value) = summary.quantile(quantile) {
            line(out, statistic, name, value)?;
        }
    }
    Ok(())
}

fn idle(name: &str, quantiles: bool, out: &mut String) -> fmt::Result {
    line(out, "avg", name, Decimal(0))?;
    for statistic in ["min", "max", "cnt", "sum"] {
        line(out, statistic, name, 0)?;
    }
    for (statistic, _) in QUANTILES.into_iter().filter(|_| quantiles) {
        line(out, statistic, name, 0)?;
    }
    Ok(())
}
