import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.Readable;

/** Reads "Class version hex" lines; has Kafka decode and encode each and prints the hex that comes out, a tab, and the values as JSON. */
public class MessageEcho {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper ascii = JsonMapper.builder().enable(JsonWriteFeature.ESCAPE_NON_ASCII).build();
        StringBuilder out = new StringBuilder();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] fields = line.split(" ", -1);
            short version = Short.parseShort(fields[1]);
            Class<?> type = Class.forName("org.apache.kafka.common.message." + fields[0]);
            ByteBuffer bytes = ByteBuffer.wrap(HexFormat.of().parseHex(fields[2]));
            Message message = (Message) type.getConstructor(Readable.class, short.class).newInstance(new ByteBufferAccessor(bytes), version);
            if (bytes.hasRemaining()) {
                throw new IllegalStateException(line + ": bytes are left");
            }
            ObjectSerializationCache cache = new ObjectSerializationCache();
            byte[] echo = new byte[message.size(cache, version)];
            message.write(new ByteBufferAccessor(ByteBuffer.wrap(echo)), cache, version);
            JsonNode json = (JsonNode) Class.forName(type.getName() + "JsonConverter")
                .getMethod("write", type, short.class).invoke(null, message, version);
            out.append(HexFormat.of().formatHex(echo)).append('\t').append(ascii.writeValueAsString(json)).append('\n');
        }
        System.out.print(out);
    }
}
