package config

import "testing"

func TestServersMayBeSRVRecords(t *testing.T) {
	for _, s := range []string{
		"[[route]]\npath = \"/\"\nproxy = { servers = [\"srv:_app._tcp.example.com\"] }\n",
		"[[route]]\npath = \"/\"\nproxy = { backends = \"b\" }\n[backends.b]\nservers = [\"srv:_app._tcp.example.com\"]\n",
		"[[route]]\npath = \"/\"\nproxy = { backends = \"b\" }\n[[backends.b.server]]\naddress = \"srv:_app._tcp.example.com\"\n",
	} {
		load(t, "-- wspawn.toml --\n"+s)
	}
}
