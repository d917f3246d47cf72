//! What the deployer, the agent and the tests share.
