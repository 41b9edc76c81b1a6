//! The two HTTP planes: telemetry and admin.

use std::sync::Arc;

use super::{Shared, StartError, announce, cannot_bind};
use crate::admin::telemetry::{self, Telemetry};
use crate::admin::{self, AdminListener, Api, Guards, Token};
use crate::config::{self, Config};

/// Binds and serves what is configured of them.
pub(super) fn serve(
    config: &Config,
    shared: &Arc<Shared>,
    api: &Arc<Api>,
) -> Result<(), StartError> {
    if let Some(address) = config.telemetry {
        let socket =
            telemetry::bind(address).map_err(|source| cannot_bind("telemetry", address, source))?;
        announce("telemetry", &format!("http://{}", socket.local_addr()?));
        let told = Telemetry::new(Arc::clone(&shared.metrics), Arc::clone(&shared.health));
        tokio::spawn(telemetry::serve(socket, Arc::new(told)));
    }
    if let Some(admin) = &config.admin {
        let socket = AdminListener::bind(&admin.listen)
            .map_err(|source| cannot_bind("admin", admin_address(&admin.listen), source))?;
        announce("admin", &socket.url());
        tokio::spawn(admin::serve(socket, Arc::clone(api)));
    }
    Ok(())
}

fn admin_address(address: &config::AdminAddress) -> String {
    match address {
        config::AdminAddress::Tcp(address) => address.to_string(),
        config::AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Whom the admin API lets in.
pub(super) fn guards(config: &Config) -> Result<Guards, admin::TokenError> {
    let Some(admin) = &config.admin else {
        return Ok(Guards::default());
    };
    let token = admin.token_file.as_deref().map(Token::read).transpose()?;
    Ok(Guards {
        token,
        hosts: admin.hosts.clone(),
    })
}
