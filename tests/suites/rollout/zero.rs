//! Nobody loses a request: not to deployments in a row, not to versions that are broken, not to a neighbour's deployment; and
//! what shows that the tests would notice.

mod control;
mod gone;
mod input;
mod neighbours;
mod rows;
