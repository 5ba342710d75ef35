// Named here so that the module's versions are those of nats-server.
package main

import _ "github.com/nats-io/nats-server/v2/server"

func main() {}
