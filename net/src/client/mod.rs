//! The one Kafka client of the project: the command line, the load generator and the tests share it.
//!
//! It speaks to any Kafka-compatible broker over tokio's sockets and needs a tokio runtime with its I/O and time drivers, of
//! any flavour. [`Connection`] is a pipelined connection with negotiated versions; [`Cluster`] finds leaders and coordinators;
//! [`Producer`], [`Consumer`] and [`GroupConsumer`] stand on both. Transactions are not here.

mod admin;
mod cluster;
mod connection;
mod consumer;
mod error;
mod group;
mod partitioner;
mod partitions;
mod producer;
#[cfg(test)]
mod scripted;
mod settings;
#[cfg(test)]
mod tests;

pub use admin::{NewTopic, PartitionInfo, TopicInfo};
pub use cluster::Cluster;
pub use connection::{Answer, ConnectOptions, Connection, InFlight};
pub use consumer::{Consumer, ConsumerOptions, Fetched, Start};
pub use error::ClientError;
pub use group::{
    GroupConsumer, GroupDescription, GroupEvent, GroupMember, GroupOptions, ListedGroup, Position, Positions,
};
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerOptions, ProducerRecord};
pub use settings::{Setting, SettingChange, SettingSource};
