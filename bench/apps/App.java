import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.Executors;

/** The tiny application on the JDK's own server. See tiny.py for what it does. */
public class App {
    static final String FAKE = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n";
    static final Path SEEN = Path.of(System.getenv("SEEN"));

    public static void main(String[] args) throws IOException {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 128);
        server.createContext("/", App::handle);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }

    static void handle(HttpExchange exchange) throws IOException {
        var said = new StringBuilder();
        exchange.getRequestHeaders().forEach((name, values) -> values.forEach(v -> said.append(name.toLowerCase() + ":" + v + "|")));
        String line = exchange.getRequestMethod() + " " + exchange.getRequestURI() + " " + said + "\n";
        Files.writeString(SEEN, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        String path = exchange.getRequestURI().getPath(), text = line;
        int status = 200;
        long length = -2;
        switch (path) {
            case "/read" -> exchange.getRequestBody().readAllBytes();
            case "/echo" -> text += new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.ISO_8859_1);
            case "/fake" -> text = FAKE;
            case "/204" -> { status = 204; text = FAKE; length = -1; }
            case "/304" -> { status = 304; text = FAKE; length = -1; }
            case "/short" -> { text = "ok" + FAKE; length = 2; }
            case "/long" -> length = 1000;
            default -> { }
        }
        byte[] bytes = text.getBytes(StandardCharsets.ISO_8859_1);
        exchange.sendResponseHeaders(status, length == -2 ? bytes.length : length);
        try (var body = exchange.getResponseBody()) {
            body.write(bytes);
        }
    }
}
