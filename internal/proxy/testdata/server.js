// An echo server with the npm package ws. It prints its port and runs until its input ends.
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({
	host: '127.0.0.1',
	port: 0,
	handleProtocols: protocols => protocols.values().next().value,
}, () => console.log(server.address().port));
server.on('connection', (socket, request) => {
	socket.send(`${request.headers.host} ${request.headers['x-forwarded-for']} ${request.url}`);
	socket.on('message', (data, binary) => socket.send(data, { binary }));
	socket.on('close', (code, reason) => console.log(`closed ${code} ${reason}`));
});
process.stdin.on('end', () => process.exit()).resume();
