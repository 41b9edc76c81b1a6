//! The relay over in-memory pipes in virtual time.

mod bench;
mod closing;
mod crowd;
mod first_message;
mod ground;
mod growth;
mod heartbeat;
mod mailbox;
mod mid_frame;
mod passing;
mod simulation;
