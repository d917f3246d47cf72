//! oslo.messaging on the wire: requests, replies and failures over a broker. Knows nothing of Nova.
//!
//! ```text
//! bytes ── transport (amqp | memory) ── envelope ──┬── server: ack, dedupe, version check ─► handler ─► reply
//!                                                  └── client: waiter of the reply
//! ```
//! The format is WIRE: content type JSON, an envelope `oslo.message` 2.0 whose payload is JSON inside a string.

mod amqp;
mod client;
mod context;
mod envelope;
mod memory;
mod remote_error;
mod server;
mod transport;
mod transport_url;

pub use amqp::{Amqp, Options};
pub use client::{CallError, Client, Target};
pub use context::RequestContext;
pub use envelope::{Message, Reply, Request, decode, encode};
pub use memory::Memory;
pub use remote_error::RemoteError;
pub use server::{Endpoint, Handler, Server, Topic};
pub use transport::{Address, Delivery, Error, Inbox, Outgoing, Settlement, Subscription, Transport};
pub use transport_url::{BrokerHost, TransportUrl};
