//! Telemetry and admin: the two HTTP planes.
