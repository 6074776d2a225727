import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/** A streamed chat completion with what the JDK has: one server-sent event a line. Java 17 or newer. */
public class Chat {
    public static void main(String[] arguments) throws Exception {
        String url = Optional.ofNullable(System.getenv("GATEWAY_URL")).orElse("http://127.0.0.1:8000");
        String key = System.getenv("GATEWAY_API_KEY");
        if (key == null) {
            key = Files.readString(Path.of(".gateway/api_key")).strip();
        }
        String question = arguments.length > 0 ? String.join(" ", arguments) : "Tell me about the sea.";
        String text = question.replace("\\", "\\\\").replace("\"", "\\\"");
        String body = "{\"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"" + text + "\"}]}";

        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/v1/chat/completions"))
                .header("Authorization", "Bearer " + key)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        HttpResponse<java.util.stream.Stream<String>> response =
                HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofLines());
        response.body().filter(line -> !line.isEmpty()).forEach(System.out::println);
        System.exit(response.statusCode() == 200 ? 0 : 1);
    }
}
