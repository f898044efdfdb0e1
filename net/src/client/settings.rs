//! Settings of topics over the wire: what is in force and where it comes from, and changes to single ones.
//!
//! Methods of [`Connection`], because any broker may be asked. Settings of brokers are not here: no command needs them yet.

use super::{ClientError, Connection};
use crate::wire::ErrorCode;
use crate::wire::messages::describe_configs::{
    self as wire, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use crate::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, DELETE_OPERATION, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, SET_OPERATION,
};

/// A setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value; none for a secret, or where nothing is set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: SettingSource,
    /// What kind of value it takes, in Kafka's words: `long`, `list` and so on.
    pub kind: &'static str,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// What it means, where the broker says so.
    pub documentation: Option<String>,
}

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// Set on the topic itself.
    Topic,
    /// Set while the broker runs, for one broker or for all.
    DynamicBroker,
    /// From the broker's configuration file, arguments or environment.
    StaticBroker,
    /// Built in.
    Default,
    /// Something this client does not know.
    Other,
}

impl SettingSource {
    /// A word for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SettingSource::Topic => "topic",
            SettingSource::DynamicBroker => "dynamic broker",
            SettingSource::StaticBroker => "static broker",
            SettingSource::Default => "default",
            SettingSource::Other => "other",
        }
    }

    fn from_code(code: i8) -> SettingSource {
        match code {
            wire::TOPIC_SOURCE => SettingSource::Topic,
            wire::DYNAMIC_BROKER_SOURCE | wire::DYNAMIC_DEFAULT_BROKER_SOURCE => SettingSource::DynamicBroker,
            wire::STATIC_BROKER_SOURCE => SettingSource::StaticBroker,
            wire::DEFAULT_SOURCE => SettingSource::Default,
            _ => SettingSource::Other,
        }
    }
}

/// What is to become of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Its name.
    pub name: String,
    /// The value that it gets, or none to take its own value away, so that the default holds again.
    pub value: Option<String>,
}

impl Connection {
    /// All settings of a topic, in the broker's order.
    ///
    /// # Errors
    /// Of the connection; `Refused` with the broker's reason.
    pub async fn topic_settings(&self, topic: &str) -> Result<Vec<Setting>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type: wire::TOPIC_RESOURCE,
            resource_name: topic,
            configuration_keys: None,
        };
        let request =
            DescribeConfigsRequest { resources: vec![resource], include_synonyms: false, include_documentation: true };
        let answer = self.call(&request).await?;
        let response: DescribeConfigsResponse<'_> = answer.decode()?;
        let what = || format!("settings of {topic}");
        let result = response.results.first().ok_or_else(|| unanswered(what()))?;
        ClientError::check(result.error_code, result.error_message, what)?;
        Ok(result.configs.iter().map(Setting::from_wire).collect())
    }

    /// Changes some settings of a topic, all or none of them.
    ///
    /// # Errors
    /// Of the connection; `Refused` with the broker's reason.
    pub async fn alter_topic_settings(&self, topic: &str, changes: &[SettingChange]) -> Result<(), ClientError> {
        let configs = changes.iter().map(|change| AlterableConfig {
            name: &change.name,
            config_operation: if change.value.is_some() { SET_OPERATION } else { DELETE_OPERATION },
            value: change.value.as_deref(),
        });
        let resource = AlterConfigsResource {
            resource_type: wire::TOPIC_RESOURCE,
            resource_name: topic,
            configs: configs.collect(),
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let answer = self.call(&request).await?;
        let response: IncrementalAlterConfigsResponse<'_> = answer.decode()?;
        let what = || format!("change settings of {topic}");
        let result = response.responses.first().ok_or_else(|| unanswered(what()))?;
        ClientError::check(result.error_code, result.error_message, what)
    }
}

impl Setting {
    fn from_wire(result: &DescribeConfigsResourceResult<'_>) -> Setting {
        Setting {
            name: result.name.to_owned(),
            value: result.value.map(str::to_owned),
            source: SettingSource::from_code(result.config_source),
            kind: kind_name(result.config_type),
            read_only: result.read_only,
            documentation: result.documentation.map(str::to_owned),
        }
    }
}

fn kind_name(code: i8) -> &'static str {
    match code {
        wire::BOOLEAN_TYPE => "boolean",
        wire::STRING_TYPE => "string",
        wire::INT_TYPE => "int",
        wire::SHORT_TYPE => "short",
        wire::LONG_TYPE => "long",
        wire::DOUBLE_TYPE => "double",
        wire::LIST_TYPE => "list",
        wire::CLASS_TYPE => "class",
        wire::PASSWORD_TYPE => "password",
        _ => "unknown",
    }
}

/// The answer leaves out what was asked for.
pub(super) fn unanswered(what: String) -> ClientError {
    let message = Some("the answer does not name it".to_owned());
    ClientError::Refused { what, code: ErrorCode::UnknownServerError, message }
}
