import { Agent, createServer, request as httpRequest } from 'node:http';

/* The least that any gateway in Node can be: takes a request on a socket and passes it on. Arguments: socket, port. */

const [socketPath, port] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true });

createServer((req, res) => {
  const headers = { ...req.headers, host: `127.0.0.1:${port}` };
  const options = { host: '127.0.0.1', port, method: req.method, path: req.url, headers, agent };
  const onward = httpRequest(options, (answer) => {
    res.writeHead(answer.statusCode ?? 0, answer.headers);
    answer.pipe(res);
  });
  onward.once('error', () => res.destroy());
  req.pipe(onward);
}).listen(socketPath, () => process.send?.('listening'));
process.on('disconnect', () => process.exit(0));
